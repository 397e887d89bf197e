"""Makes rules for tokens of the common shape: a fixed prefix, then many characters of one set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from agent.transform.redaction.checks import looks_real
from agent.transform.redaction.rule import Action, Rule

BEHIND_ESCAPE = r"(?<=\\[nrt])|(?<=\\u[0-9A-Fa-f]{4})"
"""The letters of a backslash escape are no part of what follows it."""
LEFT = rf"(?:(?<![A-Za-z0-9_])|(?<=%[0-9A-Fa-f]{{2}})|{BEHIND_ESCAPE})"
"""No word character before; the end of a percent or backslash escape is none."""
LEFT_SHORT = rf"(?:(?<![A-Za-z0-9_.\-])|(?<=%[0-9A-Fa-f]{{2}})|{BEHIND_ESCAPE})"

B62 = "A-Za-z0-9"
B58 = "1-9A-HJ-NP-Za-km-z"
B64 = "A-Za-z0-9+/"
B64U = r"A-Za-z0-9_\-"
HEX = "0-9a-fA-F"
RUN_BYTES = 23
RUN_GATE = f"[A-Za-z0-9+/]{{{RUN_BYTES}}}"
"""Is found wherever base64 of a text or another long run is, and costs a quarter of what looking for that does. The shortest
is that of a Discord token."""
LONGEST = 4096
_FINDER_WIDTH = 20
_LONG_RUN = 64
_SHORTEST_ANCHOR = 4


def token(
    ident: str,
    about: str,
    prefix: str,
    chars: str,
    least: int,
    *samples: str,
    check: Callable[[str], bool] | None = None,
    tail: str = "",
    must_not: tuple[str, ...] = (),
    anchors: tuple[str, ...] = (),
    action: Action = "mask",
    traps: str = "",
    short: bool = False,
    apart: bool = False,
) -> Rule:
    """`prefix` and then at least `least` of `chars` (inside of a character class), and `tail` after them.

    apart: in base64 so short a prefix comes up by chance; behind one of its signs the token is as long as the least, and there is
    no long run of base64 before it.
    Samples that must not match follow from the format: the prefix alone, too short, a word character before, a filler.
    """

    def valid(found: str) -> bool:
        return looks_real(found) and (check is None or check(found))

    # In a URL these characters are percent-encoded; the verifier decodes.
    percent = "%" if "/" in chars or "+" in chars or "=" in chars else ""
    literals = tuple(dict.fromkeys(sample.partition("{")[0].replace("«", "") for sample in samples))
    literal = literals[0]
    body = f"{prefix}[{chars}]{{{least},{LONGEST}}}+"
    if apart:
        alone, inside = rf"(?<![+/]{prefix})", rf"(?<![{B64}]{{{_LONG_RUN}}}[+/]{prefix})"
        body = rf"{prefix}(?:{alone}[{chars}]{{{least},{LONGEST}}}+|{inside}[{chars}]{{{least}}}(?![{chars}]))"
    return Rule(
        id=ident,
        group="",
        about=about,
        find=(f"{prefix}[{percent}{chars}]{{{min(least, _FINDER_WIDTH)}}}",),
        pattern=f"{LEFT_SHORT if short else LEFT}(?P<secret>{body}{tail})",
        check=valid,
        action=action,
        anchors=tuple(text for text in dict.fromkeys((*anchors, *literals)) if len(text) >= _SHORTEST_ANCHOR),
        shortest=least,
        must=_three(samples),
        must_not=(literal, literal + "xxxx", "documented as " + literal + "x" * (least + 4), *must_not),
        traps=traps,
    )


def _three(samples: tuple[str, ...]) -> tuple[str, ...]:
    """At least three samples: the token by itself, in a sentence and in JSON."""
    first = samples[0]
    if len(samples) >= 3 or "«" in first:
        return samples
    return (*samples, f"got «{first}», went on", f'{{"note": "«{first}»"}}')


def group(name: str, *rules: Rule) -> tuple[Rule, ...]:
    return tuple(replace(rule, group=name) for rule in rules)


ADDRESS = r"[A-Za-z0-9_+\-.\x80-\xff]@[A-Za-z0-9]"
"""Where an e-mail address may be. `places.address_ends` tells the same."""
