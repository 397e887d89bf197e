"""`redact` as a filter: one line in, one line out."""

from __future__ import annotations

import os
import secrets
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from agent import config
from agent.failures import OK
from agent.keys import PseudonymKey, value_list
from agent.patterns import NotKept
from agent.transform.redact import Redactor
from agent.transform.redaction import catalogue

_BLOCK_BYTES = 256 * 1024


def redact_stream(
    settings: config.Config | None, lines_in: BinaryIO, lines_out: BinaryIO, report: TextIO | None
) -> int:
    """Writes every line redacted, without waiting for more than has come. A last line without newline stays without."""
    redact = (settings or config.Config()).redact
    redactor = Redactor.build(
        redact, pseudonym_key=key_of(settings), values=value_list(redact.values_file), store=NotKept()
    )
    if redact.enabled:
        catalogue.load_late()  # a filter may run for long, and its files be replaced meanwhile
    for warning in redactor.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    hits: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    lines_seen = changed = failed = dropped = 0
    open_key = False
    for block in _blocks(lines_in):
        whole = block if block.endswith(b"\n") else block + b"\n"
        lines = whole.split(b"\n")
        lines.pop()
        lines_seen += len(lines)
        done = redactor.chunk(whole, lines, open_key=open_key)
        open_key = done.open_key
        hits.update(done.hits)
        seen.update(done.seen)
        dropped += len(done.dropped)
        changed += len(done.changed)
        failed += done.failed
        for index in done.dropped:
            lines[index] = b""  # one line in, one line out: what a rule orders out leaves an empty line
        lines_out.write(b"\n".join(lines) + (b"\n" if block.endswith(b"\n") else b""))
        lines_out.flush()
    if report is not None:
        print(f"{lines_seen} lines, {changed} changed", file=report)
        if dropped:
            print(f"{dropped:8} ordered out by a rule: left empty here, dropped by the agent", file=report)
        if failed:
            print(f"{failed:8} could not be judged and were replaced by stubs", file=report)
        for rule, count in hits.most_common():
            print(f"{count:8} {rule}", file=report)
        for rule, count in seen.most_common():
            print(f"{count:8} {rule} (seen only)", file=report)
    return OK


def lines_of(lines_in: BinaryIO) -> Iterator[bytes]:
    """Lines as they come, without their newlines."""
    for block in _blocks(lines_in):
        yield from block.removesuffix(b"\n").split(b"\n")


def _blocks(lines_in: BinaryIO) -> Iterator[bytes]:
    """Whole lines as they come; what follows the last newline at the very end."""
    rest: list[bytes] = []
    while data := os.read(lines_in.fileno(), _BLOCK_BYTES):
        end = data.rfind(b"\n") + 1
        if end == 0:
            rest.append(data)
            continue
        yield b"".join(rest) + data[:end]
        rest = [data[end:]] if end < len(data) else []
    if rest:
        yield b"".join(rest)


def key_of(settings: config.Config | None) -> bytes:
    """The daemon's key, so that pseudonyms are the same; a passing one where there is none to read.

    None is made for the daemon: it would belong to whoever runs this.
    """
    if settings is None:
        return secrets.token_bytes(32)
    try:
        key = PseudonymKey(Path(settings.agent.state_dir), settings.redact.hash_key)
    except OSError as error:
        print(f"pseudonyms of this run stand alone: {error}", file=sys.stderr)
        return secrets.token_bytes(32)
    if not key.is_kept:
        print(f"pseudonyms of this run stand alone: no agent has run with {settings.agent.state_dir}", file=sys.stderr)
    return key.value
