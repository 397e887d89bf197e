"""python -m agent.transform.redaction.selfcheck: that what was built does what its source says."""

from __future__ import annotations

from dataclasses import replace

from agent.transform.redact import Redactor
from agent.transform.redaction.selfcheck import failures


def test_each_rule_finds_its_samples(redactor: Redactor) -> None:
    assert not list(failures(redactor))


def test_a_procedure_that_finds_nothing_is_noticed(redactor: Redactor) -> None:
    parts = redactor._parts
    assert parts is not None
    scans = tuple(scan and (lambda _text, _verifier: ()) for scan in parts.tools.scans)
    deaf = Redactor(replace(parts, tools=replace(parts.tools, scans=scans)), redactor.rules())
    assert sum("leaves a secret" in failure for failure in failures(deaf)) > 500
