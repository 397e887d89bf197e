"""The compiled form of the inner loop: that it is what runs where it should, and that it is the same."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = re.findall(r'^    "(agent/[a-z_/]+)\.py",$', (ROOT / "setup.py").read_text(), re.MULTILINE)


def test_the_modules_to_compile_exist() -> None:
    assert MODULES
    assert all((ROOT / f"{name}.py").is_file() for name in MODULES)


@pytest.mark.skipif("GREENSTACK_AGENT_COMPILED" not in os.environ, reason="run by `make test-compiled`")
@pytest.mark.parametrize("name", MODULES)
def test_where_they_are_compiled_the_compiled_ones_run(name: str) -> None:
    assert str(importlib.import_module(name.replace("/", ".")).__file__).endswith(".so")
