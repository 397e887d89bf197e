"""All about the package is in pyproject.toml; here is only what it cannot say: the compiled form.

With GREENSTACK_AGENT_COMPILE=1 mypyc compiles the pure modules of the inner loop, from the same source, into the wheel.
Without it, or where there is no C compiler, they are what they are. See docs/decisions/0041-compiled-inner-loop.md.
"""

from __future__ import annotations

import os

from setuptools import setup

INNER_LOOP = [
    "agent/wire.py",
    "agent/wire_writer.py",
    "agent/batch/batcher.py",
    "agent/batch/stamp.py",
    "agent/transform/chain.py",
    "agent/transform/glance.py",
    "agent/transform/label.py",
    "agent/transform/level.py",
    "agent/transform/look.py",
    "agent/transform/metadata.py",
    "agent/transform/parse.py",
    "agent/transform/redaction/numbers.py",
    "agent/transform/redaction/places.py",
    "agent/transform/redaction/rule.py",
    "agent/transform/redaction/values.py",
    "agent/transform/redaction/gate.py",
    "agent/transform/redaction/named.py",
    "agent/transform/redaction/names.py",
    "agent/transform/redaction/flat.py",
    "agent/transform/redaction/stems.py",
    "agent/transform/redaction/survey.py",
    "agent/transform/redaction/nearby.py",
    "agent/transform/redaction/verify.py",
    "agent/transform/redaction/prose.py",
    "agent/transform/redaction/marks.py",
    "agent/transform/redact.py",
    "agent/transform/timestamp.py",
]


def extensions() -> list[object]:
    if os.environ.get("GREENSTACK_AGENT_COMPILE") != "1":
        return []
    from mypyc.build import mypycify  # noqa: PLC0415 - only who compiles has it

    modules = mypycify([*INNER_LOOP], opt_level="3", debug_level="0")
    for module in modules:
        # No other library is to put its functions in place of ours, so the compiler may put them where they are called. Sums of
        # i64 wrap around: Python is built with that flag too, but whoever sets CFLAGS replaces all of Python's.
        module.extra_compile_args += ["-fno-semantic-interposition", "-fwrapv"]
    return list(modules)


setup(ext_modules=extensions())
