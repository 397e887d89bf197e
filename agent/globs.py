r"""The globs of the configuration, as far as their text tells. Pure.

*  ?           any characters, any one: within a name; in `include`, a name that begins with a dot needs one in the glob
[a-z]  [!a-z]  one of these, one of all others
**             as a whole part: any number of directories, in `include` none of them hidden
[*]  [?]  [[]  the character itself, as `glob.escape` writes it
"""

from __future__ import annotations

import functools
import glob
import posixpath
import re
from collections.abc import Mapping, Sequence

_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[(?:![^/]|[^!/])[^\]/]*\]|.", re.DOTALL)
_IN_A_NAME = {"*": ".*", "**": ".*", "?": "."}
_IN_A_PATH = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def root_of(include: str) -> str:
    """The directories of a glob before its first wildcard: `/var/log/greenstack` for `/var/log/greenstack/*.log`."""
    directory = posixpath.dirname(include)
    while has_wildcard(directory):
        directory = posixpath.dirname(directory)
    return literal(directory)


def has_wildcard(pattern: str) -> bool:
    return glob.has_magic(re.sub(r"\[[*?[]\]", "", pattern))


def literal(part: str) -> str:
    """The name that a part without wildcards stands for."""
    return re.sub(r"\[(.)\]", r"\1", part)


# --- include: part by part, as directories are walked --------------------------------------------------------------------


def matches(include: str, path: str) -> bool:
    """Whether a glob shows a file of this path, were it there."""
    parts, names = include.split("/")[1:], path.split("/")[1:]
    if parts[-1] == "**":
        return not names[-1].startswith(".") and len(parts) - 1 in states(parts, names[:-1])
    return len(parts) in states(parts, names)


def may_lead(include: str, path: str) -> bool:
    """Whether a glob can match the path or something below it."""
    return bool(states(include.split("/")[1:], path.split("/")[1:] if path != "/" else []))


def states(parts: Sequence[str], names: Sequence[str]) -> list[int]:
    """What of a glob's parts is left, as indices, when a path with these names lies behind."""
    at = _with_empty(parts, {0})
    for name in names:
        reached = {i for i in at if i < len(parts) and parts[i] == "**" and not name.startswith(".")}
        reached |= {i + 1 for i in at if i < len(parts) and parts[i] != "**" and _part_matches(parts[i], name)}
        at = _with_empty(parts, reached)
    return sorted(at)


def _with_empty(parts: Sequence[str], at: set[int]) -> set[int]:
    """`**` stands for no directory as well."""
    out = set(at)
    for i in at:
        j = i
        while j < len(parts) - 1 and parts[j] == "**":
            j += 1
            out.add(j)
    return out


def _part_matches(part: str, name: str) -> bool:
    return (part.startswith(".") or not name.startswith(".")) and part_pattern(part).fullmatch(name) is not None


@functools.lru_cache
def part_pattern(part: str) -> re.Pattern[str]:
    """What matches a name, of the part of a glob between two slashes."""
    return _compiled(part, _IN_A_NAME)


# --- exclude: whole paths ------------------------------------------------------------------------------------------------


def path_pattern(pattern: str) -> re.Pattern[str]:
    """What matches a whole path. Raises re.error for a range that runs backwards, such as `[z-a]`."""
    return _compiled(pattern, _IN_A_PATH)


def _compiled(pattern: str, wildcards: Mapping[str, str]) -> re.Pattern[str]:
    out = [wildcards.get(token) or _one(token) for token in _TOKEN.findall(pattern)]
    return re.compile("".join(out), re.DOTALL)


def _one(token: str) -> str:
    if len(token) < 3:
        return re.escape(token)
    is_negated = token.startswith("[!")
    inside = re.sub(r"([\\^\[\]&~|])", r"\\\1", token[2 if is_negated else 1 : -1])
    return f"[^/{inside}]" if is_negated else f"(?!/)[{inside}]"
