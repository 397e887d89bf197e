"""What a disk may hold after the power fails: images of a directory, from a record of the system calls made on it.

Durable is a file's content at the last fsync or fdatasync that returned, and a directory's names at its last fsync.
What came later is kept, or not, or comes as NULs, or in part, each file and each name by itself.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SYSCALLS = ("openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "unlink", "rename")
# All bytes, in hex, and the time of each call.
OPTIONS = ("-ttt", "-xx", "-s", "4000000")


@dataclass(frozen=True, slots=True)
class Op:
    """what: create, write, truncate, sync, names, unlink. data: of a write. size: of a truncation. at_ns: epoch."""

    what: str
    path: str
    at_ns: int
    data: bytes = b""
    offset: int | None = None
    size: int = 0


_LINE = re.compile(r"^(\d+) +(\d+\.\d+) (.*)$")
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")


def _text(quoted: str) -> str:
    return _bytes(quoted).decode()


def _bytes(quoted: str) -> bytes:
    return bytes.fromhex(quoted.replace("\\x", ""))


def ops(log: Path) -> list[Op]:
    """The record in order: a write where it began, a sync where it returned. Calls that failed are left out."""
    begun: dict[str, str] = {}
    found: list[Op] = []
    for line in log.read_text().splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        thread, at_ns, text = match[1], int(float(match[2]) * 1e9), match[3]
        if text.endswith("<unfinished ...>"):
            begun[thread] = text.removesuffix("<unfinished ...>").rstrip()
            continue
        resumed = _RESUMED.match(text)
        if resumed is not None:
            text = begun.pop(thread, "") + resumed[2]
        if not re.search(r"\) += -1 ", text):
            found += _ops_of(text, at_ns)
    return found


def _ops_of(text: str, at_ns: int) -> Iterator[Op]:
    on_file = re.match(r"(\w+)\(\d+<([^>]*)>(?:, (.*))?\) += ", text)
    if text.startswith("openat("):
        opened = re.match(r'openat\(AT_FDCWD<[^>]*>, "([^"]*)", ([A-Z_|]+)', text)
        if opened is not None and "O_CREAT" in opened[2]:
            yield Op("create", _text(opened[1]), at_ns)
        if opened is not None and "O_TRUNC" in opened[2]:
            yield Op("truncate", _text(opened[1]), at_ns)
    elif text.startswith(("unlink(", "rename(")):
        names = [_text(name) for name in re.findall(r'"([^"]*)"', text)]
        assert len(names) == 1, "a rename was made: teach the images about it"
        yield Op("unlink", names[0], at_ns)
    elif on_file is not None:
        call, path, rest = (
            on_file[1],
            _text(on_file[2]) if on_file[2].startswith("\\x") else on_file[2],
            on_file[3] or "",
        )
        match call:
            case "write":
                yield Op("write", path, at_ns, _bytes(rest.split('"')[1]))
            case "pwrite64":
                quoted, after = rest.split('"')[1:3]
                yield Op("write", path, at_ns, _bytes(quoted), int(after.split(", ")[2]))
            case "ftruncate":
                yield Op("truncate", path, at_ns, size=int(rest))
            case "fdatasync" | "fsync":
                yield Op("sync", path, at_ns)
                yield Op("names", path, at_ns)


@dataclass(slots=True)
class _File:
    durable: bytes = b""
    later: list[Op] = field(default_factory=list)
    """Writes and truncations since the last sync."""


class Disk:
    """Takes the calls one by one. At any moment `image` gives what a failure of the power may leave."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._names: dict[str, _File] = {}
        """Names as they are durable; `_files`, as they are now."""

    def take(self, op: Op) -> None:
        match op.what:
            case "create":
                self._files.setdefault(op.path, _File())
            case "unlink":
                self._files.pop(op.path, None)
            case "write" | "truncate":
                self._files[op.path].later.append(op)
            case "sync" if op.path in self._files:
                file = self._files[op.path]
                file.durable, file.later = _whole(file), []
            case "names":
                self._names = {name: file for name, file in self._names.items() if not _is_in(name, op.path)}
                self._names |= {name: file for name, file in self._files.items() if _is_in(name, op.path)}

    def image(self, keep: Callable[[str, _File], bytes], *, names: str) -> dict[str, bytes]:
        """names: `durable`, `now`, or `both`: files deleted lately are there again, and new ones as well."""
        chosen = {"durable": self._names, "now": self._files, "both": self._names | self._files}[names]
        return {name: keep(name, file) for name, file in chosen.items()}


def _is_in(name: str, directory: str) -> bool:
    return name.rpartition("/")[0] == directory


def _apply(data: bytes, op: Op, content: bytes) -> bytes:
    if op.what == "truncate":
        return data[: op.size].ljust(op.size, b"\0")
    offset = len(data) if op.offset is None else op.offset
    data = data.ljust(offset, b"\0")
    return data[:offset] + content + data[offset + len(content) :]


def _whole(file: _File) -> bytes:
    data = file.durable
    for op in file.later:
        data = _apply(data, op, op.data)
    return data


def _durable(file: _File) -> bytes:
    return file.durable


def _nuls(file: _File) -> bytes:
    """The size is there, the bytes are not."""
    data = file.durable
    for op in file.later:
        data = _apply(data, op, bytes(len(op.data)))
    return data


def _last_only(file: _File) -> bytes:
    """The last write came before the others, which are NULs."""
    data = file.durable
    for op in file.later:
        data = _apply(data, op, op.data if op is file.later[-1] else bytes(len(op.data)))
    return data


def _part(file: _File, dice: random.Random) -> bytes:
    """Every write as far as one page or another, some not at all."""
    data = file.durable
    for op in file.later:
        data = _apply(data, op, op.data[: dice.randrange(len(op.data) + 1)])
    return data


def images(disk: Disk, dice: random.Random) -> dict[str, dict[str, bytes]]:
    """What may be left, by a word for it. The cursor is never synced, so its fate is tried apart from the others'."""

    def but_cursor(others: Callable[[_File], bytes], cursor: Callable[[_File], bytes]) -> Callable[[str, _File], bytes]:
        return lambda name, file: cursor(file) if name.endswith("/cursor") else others(file)

    return {
        "all kept": disk.image(but_cursor(_whole, _whole), names="now"),
        "nothing kept": disk.image(but_cursor(_durable, _durable), names="durable"),
        "only the cursor kept": disk.image(but_cursor(_durable, _whole), names="both"),
        "all but the cursor kept": disk.image(but_cursor(_whole, _durable), names="both"),
        "NULs": disk.image(but_cursor(_nuls, _nuls), names="now"),
        "NULs, cursor kept": disk.image(but_cursor(_nuls, _whole), names="now"),
        "the last write first": disk.image(but_cursor(_last_only, _last_only), names="now"),
        "parts": disk.image(lambda _, file: _part(file, dice), names="both"),
    }


def put(image: dict[str, bytes], old: Path, new: Path) -> None:
    """Writes an image of the directory `old` to `new`."""
    for name, data in image.items():
        path = new / Path(name).relative_to(old)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def history(made: Sequence[Op]) -> Iterator[tuple[Op, Disk]]:
    """The disk after each call."""
    disk = Disk()
    for op in made:
        disk.take(op)
        yield op, disk
