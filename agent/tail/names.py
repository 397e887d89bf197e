"""Names that rotation gives a file. They only say where to look; identity is decided by inode and content. Pure.

app.log → app.log.1, app.log-20260101, app.log.2026-01-01T00, app-20260101.log, app.log.2.gz
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator

# `.backup` is what logrotate makes of a file that a reopening writer created before logrotate could (`create`).
_SUFFIX = re.compile(r"[.\-_]\d[\dTZ.\-_:]*(?:\.backup)?")
_LEAST_DIGITS_OF_A_DATE = 6
_SHORT_NUMBER = re.compile(r"[\-_]\d{1,5}")
_PART = re.compile(r"[.\-_](?=\d)")
_DATED = re.compile(r"(.+?)[.\-_]\d[\dTZ.\-_:]*(\.[A-Za-z]\w*)")


def possible_bases(name: str) -> Iterator[str]:
    """Names that `name` may be a rotated or copied form of, longest first."""
    for end in range(len(name) - 1, 0, -1):
        yield name[:end]
    yield from (base for base, _ in _before_extension(name))


def is_rotated_name(name: str, base: str) -> bool:
    """Whether rotation gives such names: a number or a date after the base name or before its extension."""
    name = name.removesuffix(".gz")
    if name.startswith(base):
        return _SUFFIX.fullmatch(name, len(base)) is not None
    return any(base == one for one, _ in _before_extension(name))


def may_be_a_sibling(name: str, base: str) -> bool:
    """Whether the name may as well be given to another log: a short number before the extension, as in `worker-2.log`
    beside `worker.log`, and `worker-2` beside `worker`. Some rotations give such names; who writes two logs gives them more
    often."""
    if name.startswith(base):
        return _SHORT_NUMBER.fullmatch(name.removesuffix(".gz"), len(base)) is not None
    numbers = (number for one, number in _before_extension(name.removesuffix(".gz")) if one == base)
    return any(sum(character.isdigit() for character in number) < _LEAST_DIGITS_OF_A_DATE for number in numbers)


def nearer_bases(name: str, base: str) -> Iterator[str]:
    """Longer names than `base` that rotation may have given a date: `worker-2-20260101.log` is rather one of worker-2.log than
    of worker.log."""
    if not name.startswith(base):
        bases = (one for one, _ in _before_extension(name.removesuffix(".gz")))
        yield from (one for one in bases if len(one) > len(base))


def _before_extension(name: str) -> Iterator[tuple[str, str]]:
    """Ways to take a number or a date before the extension away from a name: what is left, and the number."""
    dated = _DATED.fullmatch(name)
    if dated is not None:
        stem, extension = dated[1], dated[2]
        number = name[len(stem) : dated.start(2)]
        for part in _PART.finditer(number):
            yield stem + number[: part.start()] + extension, number[part.start() :]


def extends(name: str, base: str) -> bool:
    if name.startswith(base):
        return name != base
    return is_rotated_name(name, base)


class Names:
    """The names in a directory, to be asked which of them extend a given one: of thousands, each may be asked for."""

    def __init__(self, names: Iterable[str]) -> None:
        self._sorted = sorted(names)
        self._dated: dict[str, list[str]] = {}
        for name in self._sorted:
            for base, _ in _before_extension(name.removesuffix(".gz")):
                self._dated.setdefault(base, []).append(name)

    def extending(self, base: str) -> Iterator[str]:
        for at in range(bisect.bisect_right(self._sorted, base), len(self._sorted)):
            if not self._sorted[at].startswith(base):
                break
            yield self._sorted[at]
        yield from (name for name in self._dated.get(base, ()) if not name.startswith(base))
