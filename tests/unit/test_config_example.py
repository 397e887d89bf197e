"""config.example.toml says what agent/config.py says, and nothing else."""

from __future__ import annotations

import re
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from agent import config, settings

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
OPTION = re.compile(r"^#(?=[a-z\[])", re.MULTILINE)
"""Before an option without a default there is a # and no space; before a sentence there is a space."""
WHOLE = OPTION.sub("", TEXT)
BLOCKS = re.findall(r"(?:^#[a-z\[].*\n)+", TEXT, re.MULTILINE)

TOLD_TOGETHER = (
    *(
        "#[[redact.",
        "#id",
        "#pattern",
        "#replacement",
        "#cert_file",
        "#rule",
        "#path",
        "#value",
        "#keywords",
        "#within",
    ),
    *("#check", "#action", "#enforce", "#must_match"),
)
"""The options of these tables are told in the comment above the table."""

# Where the file's order cannot be the class's: TOML wants a table's plain keys before its tables.
TABLES_LAST = {"Loki": ("retry", "tls")}
COMMENTED = {
    "source.multiline",
    "source.olddir",
    "redact.hash_key",
    "redact.rule",
    "redact.exempt",
    "loki.tenant_id",
    "loki.basic_auth",
    "loki.bearer_token",
    "loki.tls.ca_file",
    "loki.tls.cert_file",
    "loki.tls.key_file",
    "loki.tls.server_name",
}


def table_of(annotation: Any) -> type[BaseModel] | None:
    """The table within `T`, `T | None` or `tuple[T, ...]`, but not a secret's three ways: these are values."""
    if get_origin(annotation) in {Annotated, Union, types.UnionType, tuple}:
        return next(filter(None, map(table_of, get_args(annotation))), None)
    is_table = isinstance(annotation, type) and issubclass(annotation, config.Table)
    return annotation if is_table and annotation is not config.Secret else None


def names_in_order(table: type[BaseModel]) -> list[str]:
    last = TABLES_LAST.get(table.__name__, ())
    return [name for name in table.model_fields if name not in last] + list(last)


def pairs(table: type[BaseModel], written: Any, at: str = "") -> Iterator[tuple[str, type[BaseModel], dict[str, Any]]]:
    """Every table that is written, with its class."""
    for item in written if isinstance(written, list) else [written]:
        yield at, table, item
        for name, value in item.items():
            inner = table_of(table.model_fields[name].annotation)
            if inner is not None:
                yield from pairs(inner, value, f"{at}.{name}".lstrip("."))


def test_the_example_is_the_default_configuration() -> None:
    assert settings.load(EXAMPLE, {}) == config.Config()


def test_every_option_is_there_in_the_order_of_the_classes() -> None:
    for at, table, written in pairs(config.Config, tomllib.loads(WHOLE)):
        assert list(written) == names_in_order(table), at


def test_every_table_is_there() -> None:
    seen = {table.__name__ for _, table, _ in pairs(config.Config, tomllib.loads(WHOLE))}
    declared = {
        name for name, value in vars(config).items() if isinstance(value, type) and issubclass(value, config.Table)
    }
    assert seen == declared - {"Table", "Secret"}


def test_exactly_what_has_no_default_is_commented_out() -> None:
    active = {
        f"{at}.{name}".lstrip(".") for at, _, table in pairs(config.Config, tomllib.loads(TEXT)) for name in table
    }
    whole = {
        f"{at}.{name}".lstrip(".") for at, _, table in pairs(config.Config, tomllib.loads(WHOLE)) for name in table
    }
    parts = {"redact.rule.", "redact.exempt.", "loki.basic_auth.", "source.multiline."}
    assert {name for name in whole - active if not name.startswith(tuple(parts))} == COMMENTED


def test_each_default_as_written_is_the_default() -> None:
    for at, table, written in pairs(config.Config, tomllib.loads(TEXT)):
        for name in written:
            if table_of(table.model_fields[name].annotation) is not None:
                continue
            one = table.__pydantic_validator__.validate_python({name: written[name]})
            assert getattr(one, name) == table.model_fields[name].default, f"{at}.{name}"


def test_sizes_and_durations_are_written_as_the_schema_writes_them() -> None:
    tables = {"Config": settings.schema(), **settings.schema()["$defs"]}
    for at, table, written in pairs(config.Config, tomllib.loads(TEXT)):
        for name, value in written.items():
            default = tables[table.__name__]["properties"][name].get("default")
            if isinstance(value, str) and not (at == "agent" and name == "state_dir"):
                assert value == default, f"{at}.{name}"


def uncommented(block: str) -> str:
    return TEXT.replace(block, OPTION.sub("", block))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("=")[0].strip("#[] \n").split("\n")[0])
def test_each_commented_option_can_be_used(block: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(uncommented(block), encoding="utf-8")
    assert settings.load(file, {}, secrets=False) != config.Config()


def test_every_option_has_a_comment_right_above_it() -> None:
    lines = TEXT.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"#?[a-z_]+ = ", line):
            above = lines[number - 1]
            told_before = above.startswith(TOLD_TOGETHER)
            assert above.startswith("# ") or told_before, line


def test_no_line_is_too_long_for_a_terminal() -> None:
    assert max(map(len, TEXT.splitlines())) <= 120
