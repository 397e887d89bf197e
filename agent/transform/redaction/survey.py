"""Where in a long text the finder matches: asked for once in each form of the text, and paid for in steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from agent.transform.redaction import windows
from agent.transform.redaction.rule import Hit, Work, WorkLimit
from agent.transform.redaction.windows import Places

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Scans, Tools

FOUND_IN_A_STEP: Final = 512
"""Characters of a long text that the finder looks at."""
_STEPS_FOR_TWO_MATCHES: Final = 3
_BREAKS_A_STEP: Final = 48

State = tuple[tuple[str, Places] | None, list[tuple[int, int]]]


class Survey:
    """What is known of the long text that is looked at: at first the line, then for a while a string or JSON within it.

    changed: where something was replaced in the line since it was looked at; empty when nothing was, or all is looked at again.
    """

    __slots__ = ("_tools", "_work", "changed", "known")

    def __init__(self, tools: Tools, work: Work) -> None:
        self._tools = tools
        self._work = work
        # The text, and where the finder has matched in it; None while no text is long.
        self.known: tuple[str, Places] | None = None
        self.changed: list[tuple[int, int]] = []

    def of(self, text: str) -> Scans:
        """Looks at a long text: what is to be looked for in it."""
        return self._scans_of(text, self.find(text))

    def again(self, text: str, before: Places, hits: Sequence[Hit]) -> Scans:
        """The same for a text in which `hits` were replaced, when `before` says where the finder matched until then.

        It looks beside the hits only.
        """
        parts = list(windows.beside(text, hits))
        if sum(end - start + windows.FAR.before for start, end in parts) > len(text) // 2:
            return self.of(text)
        self.changed = [(start - windows.FAR.before, end + windows.EDGE) for start, end in parts]
        places = windows.near(before, hits)
        for start, end in parts:
            left = max(0, start - windows.FAR.before)
            near = self.find(text[left : end + windows.EDGE])
            places += ((left + place, scan) for place, scan in near if start < left + place < end)
        places.sort()
        return self._scans_of(text, places)

    def _scans_of(self, text: str, places: Places) -> Scans:
        self.known = text, places
        return frozenset(scan for _, scan in places)

    def turn_to(self, text: str, places: Places) -> State:
        """From now on `text` is looked at; gives what to turn back to."""
        state = self.known, self.changed
        self.known, self.changed = (text, places), []
        return state

    def turn_back(self, state: State) -> None:
        self.known, self.changed = state

    def places_in(self, text: str) -> Places | None:
        """Where the finder has matched, if `text` is the one that is looked at."""
        return self.known[1] if self.known is not None and self.known[0] is text else None

    def places_within(self, text: str, start: int, end: int) -> Places | None:
        """Likewise in a part of it, counted from its start."""
        places = self.places_in(text)
        return None if places is None else windows.within(places, start, end)

    def of_string(self, text: str, content: str, within: tuple[str, int] | None) -> Places:
        """Where the finder matches in a string's `text`. Where its `content` stands as it is in the text that is looked at,
        the finder has looked at it already."""
        places = self.places_within(within[0], within[1], within[1] + len(content)) if within is not None else None
        if places is None:
            return self.find(text)
        if content is text:
            return places
        if windows.with_breaks_escaped(text) == content and not self._tools.marks.spans(text):
            return self._unescaped(text, places)
        self._work.affords(self._cost_of(len(text), places))  # it will find as much again
        return self.find(text)

    def find(self, text: str) -> Places:
        """Where the finder matches, by characters; in marks of ours nowhere. Raises WorkLimit."""
        text = self._tools.marks.blanked(text) if "[" in text else text
        if "\n" in text or "\r" in text:
            return self._unescaped(text, self._found(windows.with_breaks_escaped(text)))
        return self._found(text)

    def _unescaped(self, text: str, places: Places) -> Places:
        self._work.step((text.count("\n") + text.count("\r")) // _BREAKS_A_STEP)
        return windows.unescaped(text, places)

    def _found(self, text: str) -> Places:
        data = text.encode("utf-8", "surrogatepass")
        found = self._tools.places_of(data)
        if found is None:
            raise WorkLimit("too many matches")
        self._work.step(self._cost_of(len(data), found))
        return windows.in_characters(data, found)

    def _cost_of(self, characters: int, places: Places) -> int:
        """What the finder takes for a text in which it matches there. What is only spelled oddly costs it little."""
        worth = sum([self._tools.scans[scan] is not None for _, scan in places])
        return characters // FOUND_IN_A_STEP + worth * _STEPS_FOR_TWO_MATCHES // 2
