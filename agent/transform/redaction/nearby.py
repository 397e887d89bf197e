"""A long text, read around what the finder has matched in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from agent.transform.redaction import decode, windows
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.windows import Window

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Verifier

Look = Callable[[str], Iterable[Hit]]


def hits(text: str, verifier: Verifier) -> Iterator[Hit]:
    """Each procedure looks around the places that ask for it, and the decoders around all."""
    tools, survey = verifier.tools, verifier.survey
    places = survey.places_in(text)
    places = survey.find(text) if places is None else places
    wrapped = [place for place, scan in places if scan == tools.base64]
    if wrapped:
        for start, end in decode.base64_runs_at(text, wrapped):
            yield from verifier.wrapped(text, start, end)
        places = [found for found in places if found[1] != tools.base64]
    dressed: list[Window] = []
    plain: dict[int, list[int]] = {}
    for window in windows.around((place for place, _ in places), len(text)):
        view = decode.undressed(text[window.start : window.end])
        if view is not None:
            found = verifier.through(view)
            if windows.wider(window, found, len(text)) is None:
                yield from (hit.moved(window.start) for hit in found)
            else:
                dressed.append(window)
            continue
        for place, scan in windows.between(places, window.start, window.end):
            plain.setdefault(scan, []).append(place)
            if scan in tools.implied:
                plain.setdefault(tools.implied[scan], []).append(place)
        yield from _growing(text, [window], verifier.percent, verifier)
    yield from _growing(text, dressed, lambda piece: verifier.undressed(piece, frozenset()), verifier)
    for number, asked in sorted(plain.items()):
        near = windows.around(asked, len(text), tools.reach.get(number, windows.NEAR))
        verifier.charge(sum(window.end - window.start for window in near), number)
        yield from _growing(text, near, verifier.one(number), verifier)


def _growing(text: str, todo: list[Window], look: Look, verifier: Verifier) -> Iterator[Hit]:
    """What `look` finds in windows of a long text. Each is read like a line of its own, and grows while a hit may reach out
    of it."""
    todo.reverse()
    while todo:
        window = todo.pop()
        found = list(look(text[window.start : window.end]))
        wider = windows.wider(window, found, len(text))
        if wider is None:
            yield from (hit.moved(window.start) for hit in found)
            continue
        while todo and todo[-1].start < wider.end:
            wider = Window(wider.start, max(todo.pop().end, wider.end))
        verifier.spend(wider.end - wider.start)
        todo.append(wider)
