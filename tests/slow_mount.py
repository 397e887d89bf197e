"""A file system whose answers a test controls: it hangs or fails on demand, as an NFS server does.

A read-only view of a directory through /dev/fuse, spoken to directly. It is mounted in a mount namespace of this process
and its children, so nothing is left behind however the test ends.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import ClassVar

_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _RELEASE, _FLUSH, _INIT = 1, 2, 3, 14, 15, 18, 25, 26
_OPENDIR, _READDIR, _RELEASEDIR, _INTERRUPT, _BATCH_FORGET = 27, 28, 29, 36, 42
_HEADER = struct.Struct("<IIQQIIII")
_NO_REPLY = {_FORGET, _BATCH_FORGET, _INTERRUPT}

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x20000, 0x4000, 1 << 18, 2


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


@cache
def _own_namespace() -> None:
    _call("unshare", _CLONE_NEWNS)
    _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)


@cache
def why_not() -> str:
    """The reason why nothing can be mounted here; empty when it can."""
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "root and /dev/fuse are needed"
    try:
        _own_namespace()
    except OSError as error:
        return str(error)
    return ""


class SlowMount:
    """hang():  from now on no request is answered, until `go_on()`.
    failing: errno by kind of request ("read", "open", "getattr", "lookup", "readdir"), for as long as it is in there.
    """

    KINDS: ClassVar[dict[int, str]] = {
        _READ: "read",
        _OPEN: "open",
        _GETATTR: "getattr",
        _LOOKUP: "lookup",
        _READDIR: "readdir",
    }

    def __init__(self, backing: Path, at: Path) -> None:
        self.backing, self.at = backing, at
        self.failing: dict[str, int] = {}
        self.asked_while_hung = 0
        self._answers = threading.Event()
        self._answers.set()
        self._nodes: dict[int, str] = {1: ""}
        self._numbers: dict[str, int] = {"": 1}
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        _call("mount", b"slow", os.fsencode(at), b"fuse", 0, options.encode())
        threading.Thread(target=self._serve, name="slow-mount", daemon=True).start()

    def hang(self) -> None:
        self._answers.clear()

    def go_on(self) -> None:
        self._answers.set()

    def unmount(self) -> None:
        self.go_on()
        _libc.umount2(os.fsencode(self.at), _MNT_DETACH)

    def close(self) -> None:
        """Whoever still waits gets an error."""
        self.unmount()
        with suppress(OSError):
            os.close(self._fd)

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._fd, 1 << 17)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return  # unmounted
            _, op, unique, node, *_ = _HEADER.unpack_from(request)
            if not self._answers.is_set():
                self.asked_while_hung += 1
                self._answers.wait()
            if op in _NO_REPLY:
                continue
            code = self.failing.get(self.KINDS.get(op, ""), 0)
            try:
                answer = b"" if code else self._answer(op, node, request[_HEADER.size :])
            except OSError as error:
                code, answer = error.errno or errno.EIO, b""
            try:
                os.write(self._fd, struct.pack("<IiQ", 16 + len(answer), -code, unique) + answer)
            except OSError:
                continue  # who asked has gone

    def _answer(self, op: int, node: int, body: bytes) -> bytes:
        if op == _INIT:
            return struct.pack("<IIIIHHIIHH8I", 7, 31, 0, 0, 12, 9, 1 << 16, 1, 0, 0, *[0] * 8)
        path = self._path(node)
        if op == _LOOKUP:
            name = body.split(b"\0", 1)[0].decode()
            inner = f"{self._nodes[node]}/{name}"
            seen = os.lstat(f"{self.backing}{inner}")
            # A name that leads to another file now is another node.
            key = f"{inner}#{seen.st_ino}"
            number = self._numbers.setdefault(key, seen.st_ino + 10)
            self._nodes[number] = inner
            return struct.pack("<QQQQII", number, 0, 0, 0, 0, 0) + self._attributes(seen)
        if op == _GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self._attributes(os.lstat(path))
        if op in (_OPEN, _OPENDIR):
            flags = os.O_RDONLY | (os.O_DIRECTORY if op == _OPENDIR else 0)
            return struct.pack("<QII", os.open(path, flags), 1, 0)
        handle, offset, size = struct.unpack_from("<QQI", body) if len(body) >= 20 else (0, 0, 0)
        if op == _READ:
            return os.pread(handle, size, offset)
        if op == _READDIR:
            return self._entries(path, offset, size)
        if op in (_RELEASE, _RELEASEDIR):
            os.close(struct.unpack_from("<Q", body)[0])
            return b""
        if op == _FLUSH:
            return b""
        raise OSError(errno.ENOSYS, "not here")

    def _path(self, node: int) -> str:
        return f"{self.backing}{self._nodes[node]}"

    @staticmethod
    def _attributes(seen: os.stat_result) -> bytes:
        seconds, nanoseconds = divmod(seen.st_mtime_ns, 10**9)
        return struct.pack(
            "<6Q10I",
            seen.st_ino + 10, seen.st_size, seen.st_blocks, seconds, seconds, seconds,
            nanoseconds, nanoseconds, nanoseconds, seen.st_mode, seen.st_nlink, 0, 0, 0, 4096, 0,
        )  # fmt: skip

    @staticmethod
    def _entries(path: str, offset: int, size: int) -> bytes:
        out = b""
        for at, name in enumerate(sorted(os.listdir(path))[offset:], offset + 1):
            raw, seen = name.encode(), os.lstat(f"{path}/{name}")
            entry = struct.pack("<QQII", seen.st_ino + 10, at, len(raw), stat.S_IFMT(seen.st_mode) >> 12) + raw
            entry += b"\0" * (-len(entry) % 8)
            if len(out) + len(entry) > size:
                break
            out += entry
        return out


@contextmanager
def slow_mount(backing: Path, at: Path) -> Iterator[SlowMount]:
    backing.mkdir(exist_ok=True)
    at.mkdir(exist_ok=True)
    _own_namespace()
    mount = SlowMount(backing, at)
    try:
        yield mount
    finally:
        mount.close()
