"""The compiled form of the inner loop: that it is what runs where it should, and that it is the same."""

from __future__ import annotations

import ast
import importlib
import os
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mypyc.build
import pytest
import setuptools

ROOT = Path(__file__).resolve().parents[2]
CHEAP = frozenset({"len", "max", "min", "start", "end", "rstrip"})
MODULES = re.findall(r'^    "(agent/[a-z_/]+)\.py",$', (ROOT / "setup.py").read_text(), re.MULTILINE)


def test_the_modules_to_compile_exist() -> None:
    assert MODULES
    assert all((ROOT / f"{name}.py").is_file() for name in MODULES)


@pytest.mark.skipif("GREENSTACK_AGENT_COMPILED" not in os.environ, reason="run by `make test-compiled`")
@pytest.mark.parametrize("name", MODULES)
def test_where_they_are_compiled_the_compiled_ones_run(name: str) -> None:
    assert str(importlib.import_module(name.replace("/", ".")).__file__).endswith(".so")


def test_sums_wrap_around_whatever_flags_the_builder_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """With CFLAGS set, as packagers do, the code was compiled without Python's own -fwrapv, and no line was told by a glance."""
    asked: dict[str, Any] = {}
    monkeypatch.setenv("GREENSTACK_AGENT_COMPILE", "1")
    monkeypatch.setattr(
        mypyc.build, "mypycify", lambda files, **_: [setuptools.Extension("inner", files, extra_compile_args=["-O3"])]
    )
    monkeypatch.setattr(setuptools, "setup", asked.update)

    runpy.run_path(str(ROOT / "setup.py"))

    (module,) = asked["ext_modules"]
    assert "-fwrapv" in module.extra_compile_args
    assert "-O3" in module.extra_compile_args


def calls_in_slices(module: ast.Module) -> Iterator[tuple[str, int]]:
    """Names and lines of what is called to work out the bounds of slices."""
    for node in ast.walk(module):
        if isinstance(node, ast.Slice):
            for call in ast.walk(node):
                if isinstance(call, ast.Call):
                    yield ast.unparse(call.func).rpartition(".")[2], call.lineno


def test_calls_in_slices_are_seen() -> None:
    assert list(calls_in_slices(ast.parse("a[: len(b)]\nc[1 : d.e(2) + f(3)]"))) == [("len", 1), ("e", 2), ("f", 2)]


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_worked_out_within_a_slice(name: str) -> None:
    """Compiled, it may be done twice: mypyc 2.4 tries a slice in two ways, of which each works out the bounds."""
    called = list(calls_in_slices(ast.parse((ROOT / f"{name}.py").read_text())))

    assert [(what, line) for what, line in called if what not in CHEAP] == []
