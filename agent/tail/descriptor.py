"""What only the open descriptor of a file tells: where its holes end, and how often its inode was used."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

_FS_IOC_GETVERSION = 0x80007601 | struct.calcsize("l") << 16


def generation_of(fd: int) -> int:
    """A number that changes when the inode is used again; 0 where the file system has none."""
    try:
        answer = fcntl.ioctl(fd, _FS_IOC_GETVERSION, b"\0" * struct.calcsize("l"))
    except OSError:  # not on tmpfs, NFS, overlays …
        return 0
    return int(struct.unpack_from("I", answer)[0])


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
