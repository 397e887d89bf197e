"""Whether each rule finds its samples and leaves what looks alike: asked of what was built, before anybody relies on it.

python -m agent.transform.redaction.selfcheck
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

from agent import config
from agent.transform.redact import Redactor
from agent.transform.redaction import samples
from agent.transform.redaction.catalogue import RULES


def failures(redactor: Redactor) -> Iterator[str]:
    """Of the rules that are on by default and need nothing of the configuration, which sample went wrong."""
    for rule in RULES:
        if not rule.default or rule.given or rule.by_chunk:
            continue
        dice = random.Random(rule.id)  # noqa: S311 - the same samples each time
        for template in rule.must:
            text, secrets = samples.split_marks(samples.expand(template, dice))
            out = redactor.text(text)
            if out.startswith('{"redaction":"failed"') or any(secret in out for secret in secrets):
                yield f"{rule.id} leaves a secret in {text!r}"
        for template in rule.must_not:
            text, _ = samples.split_marks(samples.expand(template, dice))
            if redactor.text(text) != text:
                yield f"{rule.id} changes {text!r}"


def main() -> None:
    found = list(failures(Redactor.build(config.Redact(), pseudonym_key=b"self-check" * 4)))
    sys.stdout.writelines(f"{failure}\n" for failure in found)
    sys.stdout.write(f"{len(RULES)} rules, {len(found)} samples went wrong\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
