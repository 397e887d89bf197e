"""A file system whose answers a test controls: it hangs or fails on demand, as an NFS server does.

A read-only view of a directory through /dev/fuse, spoken to directly. It is mounted in a mount namespace of this process
and its children, so nothing is left behind however the test ends.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import stat
import struct
import subprocess
import sys
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
    """failing: errno by kind of request ("read", "open", "getattr", "lookup", "readdir"); told with `fail` and `heal`."""

    def __init__(self, backing: Path, at: Path) -> None:
        self.backing, self.at = backing, at
        fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other"
        _call("mount", b"slow", os.fsencode(at), b"fuse", 0, options.encode())
        # In a process of its own, so that whoever hangs on it can still be killed: with it the hanging ends.
        self._server = subprocess.Popen(
            [sys.executable, __file__, str(backing), str(fuse)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[fuse],
        )  # fmt: skip
        os.close(fuse)

    def _tell(self, *words: object) -> str:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        if self._server.poll() is not None:
            return "0"  # unmounted: nothing to tell any more
        self._server.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self._server.stdin.flush()
        return self._server.stdout.readline().decode().strip()

    def hang(self) -> None:
        """From now on no request is answered, until `go_on`. Whoever waits can be killed, as on a hung NFS."""
        self._tell("hang")

    def go_on(self) -> None:
        self._tell("go")

    @property
    def asked_while_hung(self) -> int:
        return int(self._tell("asked"))

    def fail(self, kind: str, code: int) -> None:
        self._tell("fail", kind, code)

    def heal(self) -> None:
        self._tell("heal")

    def unmount(self) -> None:
        self.go_on()
        _libc.umount2(os.fsencode(self.at), _MNT_DETACH)

    def close(self) -> None:
        """Whoever still waits gets an error."""
        self._server.kill()
        self._server.communicate()
        _libc.umount2(os.fsencode(self.at), _MNT_DETACH)


class _Server:
    KINDS: ClassVar[dict[int, str]] = {
        _READ: "read", _OPEN: "open", _GETATTR: "getattr", _LOOKUP: "lookup", _READDIR: "readdir"
    }  # fmt: skip

    def __init__(self, backing: str, fd: int) -> None:
        self.backing, self._fd = backing, fd
        self._failing: dict[str, int] = {}
        self._is_hung = False
        self._waiting: dict[int, bytes] = {}
        self._asked = 0
        self._nodes: dict[int, str] = {1: ""}
        self._numbers: dict[str, int] = {"": 1}

    def serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._fd, 0], [], [])
            if 0 in ready:
                line = os.read(0, 4096).decode()
                if not line:
                    return
                self._obey(line.split())
            if self._fd in ready:
                try:
                    request = os.read(self._fd, 1 << 17)
                except OSError as error:
                    if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                        continue
                    return  # unmounted
                self._take(request)

    def _obey(self, words: list[str]) -> None:
        if words[0] == "hang":
            self._is_hung, self._asked = True, 0
        elif words[0] == "go":
            self._is_hung = False
            waiting, self._waiting = self._waiting, {}
            for request in waiting.values():
                self._reply(request)
        elif words[0] == "fail":
            self._failing[words[1]] = int(words[2])
        elif words[0] == "heal":
            self._failing.clear()
        os.write(1, f"{self._asked}\n".encode())

    def _take(self, request: bytes) -> None:
        _, op, unique, *_ = _HEADER.unpack_from(request)
        if op == _INTERRUPT:
            (which,) = struct.unpack_from("<Q", request, _HEADER.size)
            if self._waiting.pop(which, None) is not None:
                self._write(which, errno.EINTR, b"")
        elif op in _NO_REPLY:
            return
        elif self._is_hung:
            self._asked += 1
            self._waiting[unique] = request
        else:
            self._reply(request)

    def _reply(self, request: bytes) -> None:
        _, op, unique, node, *_ = _HEADER.unpack_from(request)
        code = self._failing.get(self.KINDS.get(op, ""), 0)
        try:
            answer = b"" if code else self._answer(op, node, request[_HEADER.size :])
        except OSError as error:
            code, answer = error.errno or errno.EIO, b""
        self._write(unique, code, answer)

    def _write(self, unique: int, code: int, answer: bytes) -> None:
        with suppress(OSError):  # who asked may have gone
            os.write(self._fd, struct.pack("<IiQ", 16 + len(answer), -code, unique) + answer)

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


if __name__ == "__main__":
    _libc.prctl(1, signal.SIGKILL)  # die with the test
    _Server(sys.argv[1], int(sys.argv[2])).serve()
