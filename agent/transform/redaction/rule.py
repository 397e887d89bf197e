"""What a rule is, what a verifier reports, and how a bad rule is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

Action = Literal["mask", "partial", "pseudonym", "drop_line", "tag_only"]
"""`mask` writes the rule's name; `partial` adds the last four characters; `pseudonym` writes a keyed digest; `drop_line`
leaves the line out; `tag_only` counts the finding and changes nothing."""

Preset = Literal["secrets", "pii"]

GateName = Literal["", "run", "number", "@", "%"]
"""`run` is a long run of base64's characters (shapes.RUN_GATE), `number` a row that may hold a card's or an account's
number (numbers.py); the others are these characters."""


class BadRule(ValueError):
    """A rule of the configuration cannot be used; the message says which and what to do."""


class WorkLimit(Exception):
    """A line asks for more work than a line may; it is replaced by a stub."""


class Work:
    """What a line may still cost, in steps of some five microseconds: none takes longer than the bound, whatever is in it."""

    __slots__ = ("left",)

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self, weight: int = 1) -> None:
        """Called for each candidate, and for what costs as much. Raises WorkLimit when too much was done."""
        self.left -= weight
        if self.left < 0:
            raise WorkLimit("too much to look at")

    def affords(self, steps: int) -> None:
        """Raises WorkLimit when what is sure to come is more than is left."""
        if steps > self.left:
            raise WorkLimit("too many candidates")


class Hit(NamedTuple):
    """A secret in a text. `text` is what to write instead; None lets the rule's action decide."""

    start: int
    end: int
    rule: str
    text: str | None = None

    def moved(self, by: int) -> Hit:
        return self._replace(start=self.start + by, end=self.end + by)


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret.

    find:     patterns for the finder: they end at a fixed width and never match a newline.
    gated:    more of them, without a literal, and so slow; gate: what says where to look for these (see catalogue.Needle).
    pattern:  for the verifier, bounded and linear; a group `secret`, if there is one, is what goes.
    check:    the verifier's last word on a candidate.
    scanner:  the shared procedure that finds it, for rules that no single pattern can express.
    also:     more shared procedures, each with the patterns for the finder that ask for it.
    anchors:  literals whose base64 forms the finder looks for as well.
    default:  whether it is on without being asked for.
    must:     templates (see samples.py) of texts with such a secret; the part in « » is what has to go.
    must_not: templates of texts that look alike and stay.
    given:    a template of what the configuration adds for the samples, where the rule does nothing without: a name or a
              value, which `{given}` stands for in them. by_chunk: the lines of a sample are lines of the log.
    traps:    what it must not be confused with, for people.
    """

    id: str
    group: str
    about: str
    find: tuple[str, ...] = ()
    gated: tuple[str, ...] = ()
    gate: GateName = ""
    pattern: str = ""
    check: Callable[[str], bool] | None = None
    scanner: str = ""
    also: tuple[tuple[str, tuple[str, ...]], ...] = ()
    action: Action = "mask"
    preset: Preset = "secrets"
    default: bool = True
    anchors: tuple[str, ...] = ()
    shortest: int = 0
    must: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()
    given: str = ""
    by_chunk: bool = False
    traps: str = ""
