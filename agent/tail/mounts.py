"""Which file systems the globs reach. Each gets a thread of its own, so that one that hangs holds up nobody else.

The table of mounts is read from the kernel, which never waits for a file system to answer. What is mounted twice (a bind
mount) is one device, so its files are still told apart by inode.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.globs import may_lead

_TABLE = "/proc/self/mountinfo"
NO_TABLE = "1 1 0:0 / / rw - unknown none rw\n"
"""Where there is none, as there is on Linux only: one area for everything."""

_MOST_AREAS = 64

_REMOTE = frozenset(
    {"9p", "afs", "ceph", "cifs", "coda", "fuse", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "vboxsf", "virtiofs"}
)
_NO_LOGS = frozenset(
    {"autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "efivarfs", "fusectl"}
    | {"hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "ramfs", "rpc_pipefs", "securityfs", "sysfs", "tracefs"}
)


@dataclass(frozen=True, slots=True)
class Mount:
    """path: where.  device: `major:minor`.  kind: of file system, as the kernel names it."""

    path: str
    device: str
    kind: str

    @property
    def is_remote(self) -> bool:
        """Whether others change its files without the kernel here noticing."""
        return self.kind in _REMOTE or self.kind.startswith("fuse.")


@dataclass(frozen=True, slots=True)
class Area:
    """The part of the tree that is on one device.

    mounts:  where it is mounted, as far as globs lead there.
    foreign: mount points of other areas, not to be entered.
    """

    device: str
    mounts: tuple[str, ...]
    foreign: frozenset[str] = frozenset()
    is_remote: bool = False

    def holds(self, path: str) -> bool:
        """Whether a path is in this area, by the mount points above it. The file need not exist."""
        own = max((len(mount) for mount in self.mounts if _is_below(path, mount)), default=-1)
        return own >= 0 and not any(len(mount) > own and _is_below(path, mount) for mount in self.foreign)

    def is_reached_from(self, root: str) -> bool:
        """Whether the way from a directory down leads into this area, without going into a foreign one."""
        return self.holds(root) or any(_is_below(mount, root) for mount in self.mounts)


WHOLE_TREE = Area("", ("/",))


def read_table() -> str:
    """Empty when it cannot be read, for want of descriptors perhaps."""
    try:
        with open(_TABLE, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def parse(table: str) -> list[Mount]:
    """The mounts that are on top of each mount point."""
    top: dict[str, Mount] = {}
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) >= 5 and after:
            path = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
            top[path] = Mount(path, fields[2], after.split(" ", 1)[0])
    return list(top.values())


def areas(includes: Iterable[tuple[str, str]], mounts: Sequence[Mount]) -> dict[str, Area]:
    """The areas that globs lead to, by device. includes: (glob, its directories before the first wildcard)."""
    reached: dict[str, Mount] = {}
    for include, root in includes:
        home = _mount_of(root, mounts)
        if home is not None:
            reached[home.path] = home
        for mount in mounts:
            is_below = _is_below(mount.path, root) and mount.path != root
            if is_below and mount.kind not in _NO_LOGS and may_lead(include, mount.path):
                reached[mount.path] = mount
    devices: dict[str, list[Mount]] = {}
    for path in sorted(reached):
        mount = reached[path]
        if mount.device in devices or len(devices) < _MOST_AREAS:
            devices.setdefault(mount.device, []).append(mount)
    return {device: _area(device, own, devices) for device, own in devices.items()}


def _area(device: str, own: list[Mount], devices: dict[str, list[Mount]]) -> Area:
    foreign = frozenset(mount.path for other, mounts in devices.items() if other != device for mount in mounts)
    return Area(device, tuple(mount.path for mount in own), foreign, any(mount.is_remote for mount in own))


def _mount_of(path: str, mounts: Iterable[Mount]) -> Mount | None:
    return max((mount for mount in mounts if _is_below(path, mount.path)), key=lambda m: len(m.path), default=None)


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(os.path.join(directory, ""))
