"""What only the open descriptor of a file tells: where its holes end, and which use of its inode it is."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import struct

_FS_IOC_GETVERSION = 0x80007601 | struct.calcsize("l") << 16
_AT_EMPTY_PATH = 0x1000
_STATX_BTIME = 0x800
_STATX_BYTES = 256


def generation_of(fd: int) -> int:
    """A number that changes when the inode is used again; 0 where the file system has none."""
    try:
        answer = fcntl.ioctl(fd, _FS_IOC_GETVERSION, b"\0" * struct.calcsize("l"))
    except OSError:  # not on tmpfs, NFS, overlays …
        return _birth_ns(fd)
    return int(struct.unpack_from("I", answer)[0])


def _birth_ns(fd: int) -> int:
    """When the inode was taken into use; 0 where that is not known. Python 3.11 has no statx(2); libc has, since glibc 2.28
    and musl 1.2."""
    statx, answer = _statx(), ctypes.create_string_buffer(_STATX_BYTES)
    if statx is None or statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, answer):
        return 0
    # struct statx: stx_mask is at 0, stx_btime at 80 (seconds, nanoseconds).
    (mask,), (seconds, ns) = struct.unpack_from("I", answer, 0), struct.unpack_from("qI", answer, 80)
    return int(seconds * 10**9 + ns) if mask & _STATX_BTIME else 0


@functools.cache
def _statx() -> ctypes._NamedFuncPointer | None:
    return getattr(ctypes.CDLL(None), "statx", None)


def data_from(fd: int, offset: int) -> int:
    """Where the next content is: behind the hole at `offset`, or there."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # only hole up to the end
            return max(offset, os.fstat(fd).st_size)
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):  # the file system does not know
            return offset
        raise
