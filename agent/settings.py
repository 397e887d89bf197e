"""Loading the configuration: a TOML file, the environment over it, and every mistake at once.

    config.toml   [batch] max_wait = "2s"
    environment   GREENSTACK_AGENT__BATCH__MAX_WAIT=2s    wins over the file; lists and tables are written as JSON

Pydantic stops at the first layer of mistakes: what tables say about each other is looked at when each is right. So what is
wrong is noted, taken out and validated again, until the rest stands and can be asked about its conflicts and secrets.
A mistake that may only follow from something taken out is not reported: every message is true.
"""

from __future__ import annotations

import ast
import copy
import inspect
import json
import re
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from agent import config
from agent.secret import SecretMissing, SecretReader

if TYPE_CHECKING:
    import tree_sitter

PREFIX = "GREENSTACK_AGENT__"
DELIMITER = "__"
ENVIRONMENT = "environment"

Loc = tuple[str | int, ...]
"""Where an option is: ("source", 1, "include", 0)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake and where it was made. `line` and `column` count from 1; the environment has neither."""

    file: str
    line: int | None
    column: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}: {self.message}"


class ConfigInvalid(Exception):
    """The configuration cannot be used. `problems` are all there are, those of the file first, in its order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def load(path: Path, environ: Mapping[str, str], *, secrets: bool = True) -> config.Config:
    """The configuration of a file and the environment. Raises ConfigInvalid.

    secrets: whether the places that are only named (secrets, TLS files) must hold something too. Off, a configuration
             can be checked on a machine that has none of them.
    """
    known, unknown = _variables(environ)
    try:
        text = _text(path)
        file = _parse(path, text)
    except ConfigInvalid as invalid:
        raise ConfigInvalid((*invalid.problems, *unknown)) from None
    layers = _Layers(str(path), file, text, _from_environment(known), {_loc(name): name for name in known})
    settings, mistakes = _settle(layers, environ, secrets=secrets)
    problems = [layers.problem(mistake) for mistake in mistakes] + unknown
    if settings is None or problems:
        raise ConfigInvalid(tuple(sorted(dict.fromkeys(problems), key=_order)))
    return settings


def _order(problem: Problem) -> tuple[bool, int, int]:
    return problem.file == ENVIRONMENT, problem.line or 0, problem.column or 0


# ── The file ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _unusable(path, "there is no such file; begin with config.example.toml") from None
    except IsADirectoryError:
        raise _unusable(path, "is a directory; name the file in it") from None
    except PermissionError:
        raise _unusable(path, "may not be read; give the agent's user read access") from None
    except (OSError, ValueError) as error:
        raise _unusable(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The decoder's offset counts from behind a byte-order mark; lines do not care.
        line = data[: error.start].count(b"\n") + 1
        raise _unusable(path, f"is not UTF-8 (byte 0x{data[error.start]:02x}); save it as UTF-8", line) from None


def _unusable(path: Path, message: str, line: int = 1) -> ConfigInvalid:
    return ConfigInvalid((Problem(str(path), line, None, "file", message),))


def _parse(path: Path, text: str) -> dict[str, Any]:
    """The tables of the file. TOML has no recovery: after a syntax error the rest cannot be trusted, so it comes alone."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise _unusable(path, "is nested too deeply") from None
    except ValueError as error:
        match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL)
        message = match[1] if match else str(error)
        if match and not match[2]:
            message += ": something is not closed before the file ends"
        at_end = len(text.rstrip().splitlines()) or 1
        line = (int(match[2]) if match[2] else at_end) if match else 1
        column = int(match[3]) if match and match[3] else None
        raise ConfigInvalid((Problem(str(path), line, column, "syntax", _spoken(message)),)) from None


def _spoken(message: str) -> str:
    """tomllib names tables as Python tuples: `Cannot declare ('loki', 'tls') twice`."""
    return re.sub(r"\(('[^)]*'),?\)", lambda match: "[" + re.sub(r"', '|'", ".", match[1]).strip(".") + "]", message)


@dataclass(frozen=True, slots=True)
class _Place:
    line: int
    column: int


def _places(text: str) -> dict[Loc, _Place]:
    """Where each table, key and list item begins. What cannot be understood is left out: its table's place will do."""
    import tree_sitter  # noqa: PLC0415 - only a configuration with mistakes needs it
    import tree_sitter_toml  # noqa: PLC0415

    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_toml.language()))
    return _Finder(text.encode()).document(parser)


class _Finder:
    """Walks the syntax tree. In `[[a]] [a.b]` the second header means `b` of the last `a`: `_items` counts those."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._lines = data.split(b"\n")
        self._items: dict[Loc, int] = {}
        self._places: dict[Loc, _Place] = {}

    def document(self, parser: tree_sitter.Parser) -> dict[Loc, _Place]:
        for node in parser.parse(self._data).root_node.named_children:
            if node.type == "pair":
                self._pair(node, ())
            elif node.type in {"table", "table_array_element"}:
                self._table(node)
        return self._places

    def _table(self, node: tree_sitter.Node) -> None:
        header, *pairs = (child for child in node.named_children if child.type != "comment")
        loc: Loc = ()
        for key in _keys(header):
            loc = self._last_item((*loc, key))
            self._note(loc, header)
        if node.type == "table_array_element":
            name = loc[:-1] if loc in self._item_locs() else loc
            self._items[name] = self._items.get(name, 0) + 1
            loc = (*name, self._items[name] - 1)
            self._note(loc, header)
        for pair in pairs:
            if pair.type == "pair":
                self._pair(pair, loc)

    def _item_locs(self) -> set[Loc]:
        return {(*name, count - 1) for name, count in self._items.items()}

    def _last_item(self, loc: Loc) -> Loc:
        return (*loc, self._items[loc] - 1) if loc in self._items else loc

    def _pair(self, node: tree_sitter.Node, table: Loc) -> None:
        key, *values = (child for child in node.named_children if child.type != "comment")
        loc = table
        for name in _keys(key):
            loc = (*loc, name)
            self._note(loc, key)
        if values:
            self._value(values[0], loc)

    def _value(self, node: tree_sitter.Node, loc: Loc) -> None:
        children = [child for child in node.named_children if child.type != "comment"]
        if node.type == "inline_table":
            for pair in children:
                if pair.type == "pair":
                    self._pair(pair, loc)
        elif node.type == "array":
            for index, item in enumerate(children):
                self._note((*loc, index), item)
                self._value(item, (*loc, index))

    def _note(self, loc: Loc, node: tree_sitter.Node) -> None:
        row, byte = node.start_point
        column = len(self._lines[row][:byte].decode(errors="replace")) + 1
        self._places.setdefault(loc, _Place(row + 1, column))


def _keys(node: tree_sitter.Node) -> list[str]:
    """The names of a key: `a."b.c"` is two."""
    if node.type == "dotted_key":
        return [key for child in node.named_children for key in _keys(child)]
    text = (node.text or b"").decode()
    if node.type != "quoted_key":
        return [text]
    return list(tomllib.loads(f"{text} = 0"))


# ── The environment ───────────────────────────────────────────────────────────────────────────────────────────────────


def _loc(variable: str) -> Loc:
    return tuple(variable[len(PREFIX) :].lower().split(DELIMITER))


def _variable(loc: Loc) -> str:
    return PREFIX + DELIMITER.join(str(part) for part in loc).upper()


def _variables(environ: Mapping[str, str]) -> tuple[dict[str, str], list[Problem]]:
    """Our variables, and a problem for each that looks like ours and is none. A misspelt one must not pass in silence."""
    known: dict[str, str] = {}
    unknown: list[Problem] = []
    for name, value in sorted(environ.items()):
        if name.upper().startswith(PREFIX):
            message = _unknown_variable(name)
            if message is None:
                known[name] = value
            else:
                unknown.append(Problem(ENVIRONMENT, None, None, name, message))
        elif name.upper().startswith(PREFIX[:-1]) and DELIMITER in name[len(PREFIX) :]:
            # Kubernetes sets GREENSTACK_AGENT_PORT and the like for a service of our name; those have no double underscore.
            meant = PREFIX + name[len(PREFIX) - 1 :].upper()
            if _unknown_variable(meant) is None:
                message = f'ignored: the prefix ends in two underscores (did you mean "{meant}"?)'
                unknown.append(Problem(ENVIRONMENT, None, None, name, message))
    return known, unknown


def _unknown_variable(name: str) -> str | None:
    at: Any = config.Config
    for end, part in enumerate(_loc(name)):
        if get_origin(bare(at)) is tuple:
            return f"a list is set as a whole: {_variable(_loc(name)[:end])} takes a JSON list"
        at = _step(at, part)
        if at is None:
            near = _near(name.upper(), _all_variables())
            return "unknown variable" + (f' (did you mean "{near[0]}"?)' if near else "")
    return None


def _from_environment(variables: Mapping[str, str]) -> dict[str, Any]:
    """The layer of the environment. What reads it is loaded when there is something to read: a thirtieth of a start."""
    if not variables:
        return {}
    from agent.environment import Environment  # noqa: PLC0415 - see above

    return Environment(variables)()


@cache
def _all_variables() -> tuple[str, ...]:
    return tuple(_variable(loc) for loc, _ in _fields(config.Config))


# ── What an option is ─────────────────────────────────────────────────────────────────────────────────────────────────


def is_table(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def bare(annotation: Any) -> Any:
    """The annotation without what is around it: `Secret | None` is Secret, and of a union the table is meant."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        members = [bare(member) for member in get_args(annotation) if member is not type(None)]
        return next((member for member in members if is_table(member)), members[0])
    return annotation


def _step(annotation: Any, part: str | int) -> Any:
    """The annotation of what `part` names within; None when there is no such thing."""
    plain = bare(annotation)
    if is_table(plain):
        field = plain.model_fields.get(str(part))
        return field.annotation if field else None
    kind = get_origin(plain)
    if kind is tuple and isinstance(part, int):
        return get_args(plain)[0]
    return get_args(plain)[1] if kind is dict and isinstance(part, str) else None


def _table_at(loc: Loc) -> type[BaseModel] | None:
    at: Any = config.Config
    for part in loc:
        at = _step(at, part)
    table = bare(at)
    return table if is_table(table) else None


def _field_at(loc: Loc) -> FieldInfo | None:
    table = _table_at(loc[:-1]) if loc else None
    return table.model_fields.get(str(loc[-1])) if table else None


def _fields(table: type[BaseModel], at: Loc = ()) -> Iterator[tuple[Loc, FieldInfo]]:
    """Every option of a table and of the tables in it, depth first."""
    for name, field in table.model_fields.items():
        yield (*at, name), field
        inner = bare(field.annotation)
        if is_table(inner):
            yield from _fields(inner, (*at, name))


def _unit(field: FieldInfo | None) -> Literal["size", "duration"] | None:
    for item in field.metadata if field else ():
        if isinstance(item, BeforeValidator):
            if item.func is config.parse_size:
                return "size"
            if item.func is config.parse_duration:
                return "duration"
    return None


def _written(value: float, unit: Literal["size", "duration"] | None) -> str:
    """A number as the file has it."""
    if unit == "size":
        return config.format_size(int(value))
    return config.format_duration(value) if unit == "duration" else str(value)


# ── The mistakes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Mistake:
    loc: Loc
    message: str
    remove: Loc
    """What to take out so that the rest can be looked at."""


@dataclass(frozen=True)
class _Layers:
    """What was written, and where."""

    file_name: str
    file: dict[str, Any]
    text: str
    environment: dict[str, Any]
    variables: dict[Loc, str]

    @cached_property
    def places(self) -> dict[Loc, _Place]:
        """Looked for when something is wrong; a start without mistakes does not load the parser."""
        return _places(self.text)

    def __post_init__(self) -> None:
        """A reference of the environment replaces the file's: merged, it would name two places."""
        headers = _get(self.environment, ("loki", "headers"))
        names = list(headers) if isinstance(headers, dict) else []
        for loc in (*_secret_locs(), *(("loki", "headers", name) for name in names)):
            if _has(self.environment, loc):
                _remove(self.file, loc)

    def problem(self, mistake: _Mistake) -> Problem:
        loc = mistake.loc
        variable = self._variable(loc)
        if variable is not None:
            inside = "" if _loc(variable) == loc else f"{_dotted(loc)}: "
            return Problem(ENVIRONMENT, None, None, variable, inside + mistake.message)
        place = next((self.places[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in self.places), None)
        line, column = (place.line, place.column) if place else (1, None)
        return Problem(self.file_name, line, column, _dotted(loc), mistake.message)

    def _variable(self, loc: Loc) -> str | None:
        """The variable that set this; None when the file did. What is in both was set by the environment, but for tables."""
        for end in range(len(loc), 0, -1):
            found = _get(self.environment, loc[:end], missing := object())
            if found is not missing and not (isinstance(found, dict) and loc[:end] in self.places):
                return self._of(loc[:end])
            if loc[:end] in self.places:
                return None
        return None

    def _of(self, loc: Loc) -> str | None:
        outer = [variable for variable in self.variables if loc[: len(variable)] == variable]
        inner = [variable for variable in self.variables if variable[: len(loc)] == loc]
        best = max(outer, key=len, default=None) or min(inner, default=None, key=str)
        return self.variables[best] if best else None


def _settle(
    layers: _Layers, environ: Mapping[str, str], *, secrets: bool
) -> tuple[config.Config | None, list[_Mistake]]:
    """The settings without what is wrong in them, and what that was."""
    environment, file = copy.deepcopy(layers.environment), copy.deepcopy(layers.file)
    mistakes: list[_Mistake] = []
    removed: list[Loc] = []
    while True:
        try:
            settings = _validate(environment, file)
            break
        except ValidationError as error:
            found = [m for each in error.errors(include_url=False) if (m := _mistake(each, environment, file))]
        assert found, "pydantic refused something and no message tells what"
        mistakes += [mistake for mistake in found if not _touched((mistake.loc,), removed)]
        taken = [_remove(layer, mistake.remove) for mistake in found for layer in (environment, file)]
        removed += [mistake.remove for mistake in found]
        if not any(taken):
            return None, mistakes
    for conflict in config.conflicts(settings):
        if not _touched((conflict.at, *conflict.because), removed):
            mistakes.append(_Mistake(conflict.at, conflict.message, ()))
    if secrets:
        mistakes += _missing_places(settings, environ)
    return settings, mistakes


def _validate(environment: dict[str, Any], file: dict[str, Any]) -> config.Config:
    """What the file says alone needs no merging."""
    if not environment:
        return config.Config.model_validate(file)
    from agent.environment import merged  # noqa: PLC0415 - as below

    return merged(environment, file)


def _touched(locs: tuple[Loc, ...], removed: list[Loc]) -> bool:
    """Whether one of the options holds, or is held by, something that was taken out."""
    return any(loc[: len(gone)] == gone[: len(loc)] for loc in locs for gone in removed)


def _mistake(error: ErrorDetails, environment: dict[str, Any], file: dict[str, Any]) -> _Mistake | None:
    """An error of pydantic in the operator's words; None for one that another says better."""
    loc = _real_loc(error, environment, file)
    if loc is None or (error["type"] == "too_short" and error["input"]):
        return None  # a list of wrong items only is not too short
    remove = loc[:-1] if error["type"] == "missing" else loc
    while remove and isinstance(remove[-1], int):
        remove = remove[:-1]
    return _Mistake(loc, _message(error, loc), remove)


def _real_loc(error: ErrorDetails, *layers: dict[str, Any]) -> Loc | None:
    """Pydantic's location without the steps that nobody wrote: "[key]" and the members of `text | Secret`.

    Pydantic reports what each member of the union did not like; None for the member that was not meant.
    """
    loc: Loc = ()
    parts = error["loc"]
    for index, part in enumerate(parts):
        missing = error["type"] == "missing" and index == len(parts) - 1
        if missing or any(_has(layer, (*loc, part)) for layer in layers):
            loc = (*loc, part)
        elif part != "[key]":
            value = next(_get(layer, loc) for layer in layers if _has(layer, loc))
            if isinstance(value, str) == ("Secret" in str(part)):
                return None
    return loc


def _message(error: ErrorDetails, loc: Loc) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    unit = _unit(_field_at(loc))
    match kind:
        case "value_error":
            return str(context["error"])
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return _unknown_key(loc)
        case "literal_error":
            return _not_one_of(value, context["expected"])
        case "greater_than_equal" | "less_than_equal" | "greater_than" | "less_than":
            words = {"ge": "at least", "le": "at most", "gt": "more than", "lt": "less than"}
            name = next(iter(context))
            return f"{_written(value, unit)} is impossible: it must be {words[name]} {_written(context[name], unit)}"
        case "string_pattern_mismatch":
            return f"{_shown(value)} must match {context['pattern']}"
        case "too_short":
            return "needs at least one"
        case "string_too_short":
            return "must not be empty"
        case "string_too_long":
            return f"is longer than {context['max_length']} characters"
    return _wrong_type(loc, kind, value, unit) or error["msg"]


def _wrong_type(loc: Loc, kind: str, value: Any, unit: str | None) -> str | None:
    if unit == "size":
        return f'write a size such as "1MiB", not {_shown(value)}'
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        table = _table_at(loc)
        if table is config.Secret:
            return 'write { file = "…" }, { env = "…" } or { credential = "…" }'
        return f"write a table, not {_shown(value)}"
    if kind == "tuple_type":
        item = bare(_step(_field_annotation(loc), 0))
        if is_table(item):
            header = ".".join(str(part) for part in loc)
            return f"there may be several: write [[{header}]] with two brackets"
        return f'write a list such as ["…", "…"], not {_shown(value)}'
    examples = {
        "string_type": 'text in quotes, such as "…"',
        "int_type": "a whole number",
        "bool_type": "true or false",
    }
    return f"write {examples[kind]}, not {_shown(value)}" if kind in examples else None


def _field_annotation(loc: Loc) -> Any:
    field = _field_at(loc)
    return field.annotation if field else None


def _shown(value: Any) -> str:
    """What was written, as far as it helps. Text is not repeated when it is long: it may be what it should not be."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else f"{text[:12]}…{text[-1]}"


def _near(word: str, known: Sequence[str]) -> list[str]:
    """The one that may have been meant."""
    import difflib  # noqa: PLC0415 - only a configuration with mistakes needs it

    return difflib.get_close_matches(word, known, 1)


def _unknown_key(loc: Loc) -> str:
    key, table = str(loc[-1]), _table_at(loc[:-1])
    names = list(table.model_fields) if table else []
    near = _near(key.lower(), names)
    if near:
        return f'unknown key "{key}" (did you mean "{near[0]}"?)'
    elsewhere = [_dotted(at[:-1]) for at, _ in _fields(config.Config) if at[-1] == key and len(at) > 1]
    if elsewhere:
        return f'unknown key "{key}" here (it belongs to {" or ".join(f"[{name}]" for name in elsewhere)})'
    return f'unknown key "{key}"' + (f" (known are {', '.join(names)})" if names else "")


def _not_one_of(value: Any, expected: str) -> str:
    options = re.findall(r"'([^']*)'", expected)
    near = _near(value.lower(), options) if isinstance(value, str) else []
    hint = f' (did you mean "{near[0]}"?)' if near else ""
    return f"{_shown(value)} is not one of {', '.join(json.dumps(option) for option in options)}{hint}"


def _missing_places(settings: config.Config, environ: Mapping[str, str]) -> Iterator[_Mistake]:
    """Secrets and files that are named and not there. Missing at the start they would be missing at each request."""
    for loc, secret in _secrets(settings, ()):
        try:
            value = SecretReader(secret, environ).read()
        except SecretMissing as missing:
            yield _Mistake(loc, str(missing), ())
            continue
        if loc[0] == "loki" and len(value.splitlines()) > 1:
            yield _Mistake(loc, "the secret has several lines; a request header has one", ())
    for name in ("ca_file", "cert_file", "key_file"):
        path = getattr(settings.loki.tls, name)
        reason = _unreadable(Path(path)) if path is not None else None
        if reason is not None:
            yield _Mistake(("loki", "tls", name), reason, ())


def _secrets(value: Any, loc: Loc) -> Iterator[tuple[Loc, config.Secret]]:
    if isinstance(value, config.Secret):
        yield loc, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name), (*loc, name))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _secrets(item, (*loc, name))


def _unreadable(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return None if file.read(1) else f"{path} is empty"
    except FileNotFoundError:
        return f"{path} is not there: create it, readable by the agent"
    except PermissionError:
        return f"{path} may not be read: give the agent's user read access"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"


@cache
def _secret_locs() -> tuple[Loc, ...]:
    return tuple(loc for loc, field in _fields(config.Config) if bare(field.annotation) is config.Secret)


# ── Paths into what was written ───────────────────────────────────────────────────────────────────────────────────────


def _get(layer: Any, loc: Loc, default: Any = None) -> Any:
    for part in loc:
        held = part in layer if isinstance(layer, dict) else isinstance(layer, list) and part in range(len(layer))
        if not held:
            return default
        layer = layer[part]
    return layer


def _has(layer: dict[str, Any], loc: Loc) -> bool:
    missing = object()
    return _get(layer, loc, missing) is not missing


def _remove(layer: dict[str, Any], loc: Loc) -> bool:
    parent = _get(layer, loc[:-1]) if loc else None
    if not isinstance(parent, dict) or loc[-1] not in parent:
        return False
    del parent[loc[-1]]
    return True


def _dotted(loc: Loc) -> str:
    """`source[1].labels."a b"`"""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part, ensure_ascii=False)
            text += f".{name}" if text else name
    return text


# ── The schema ────────────────────────────────────────────────────────────────────────────────────────────────────────


def schema() -> dict[str, Any]:
    """JSON Schema of the file as it is written: for editors, and for checking where no agent is."""
    result = config.Config.model_json_schema()
    tables: list[type[BaseModel]] = [config.Config, *_tables(config.Config)]
    for table in tables:
        definition = result if table is config.Config else result["$defs"][table.__name__]
        definition["properties"] = {
            name: _property(definition["properties"][name], field, _described().get((table.__name__, name), ""))
            for name, field in table.model_fields.items()
        }
    result["$defs"]["Secret"] |= {"minProperties": 1, "maxProperties": 1}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **result, "title": "greenstack-agent"}


def _tables(table: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for field in table.model_fields.values():
        inner = bare(field.annotation)
        item = bare(get_args(inner)[0]) if get_origin(inner) is tuple else inner
        value = bare(get_args(inner)[1]) if get_origin(inner) is dict else item
        if is_table(value):
            yield value
            yield from _tables(value)


@cache
def _described() -> dict[tuple[str, str], str]:
    """What stands below each option in the source. Pydantic can read it too, but at every start, for a third of its imports."""
    found = {}
    for table in ast.parse(inspect.getsource(config)).body:
        for option, words in pairwise(table.body if isinstance(table, ast.ClassDef) else ()):
            match option, words:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[table.name, name] = text  # type: ignore[attr-defined] # a ClassDef, by the line above
    return found


def _property(written: dict[str, Any], field: FieldInfo, described: str) -> dict[str, Any]:
    """One option: TOML has no null, and quantities show as text."""
    result = {key: value for key, value in written.items() if key not in {"title", "default", "anyOf"}}
    options = [option for option in written.get("anyOf", ()) if option != {"type": "null"}]
    result |= options[0] if len(options) == 1 else {"anyOf": options} if options else {}
    unit = _unit(field)
    if unit is not None:
        result["default"] = _written(field.default, unit)
    elif written.get("default") is not None and not _holds_tables(field):
        result["default"] = written["default"]
    result["description"] = " ".join(described.split()) + _bounds(field, unit)
    return result


def _holds_tables(field: FieldInfo) -> bool:
    plain = bare(field.annotation)
    return is_table(plain) or (get_origin(plain) is tuple and is_table(bare(get_args(plain)[0])))


def _bounds(field: FieldInfo, unit: Literal["size", "duration"] | None) -> str:
    """A schema cannot compare quantities in text; a sentence can."""
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    found = [
        f"{words[name]} {_written(bound, unit)}"
        for item in field.metadata
        for name in words
        if unit is not None and (bound := getattr(item, name, None)) is not None
    ]
    return f" ({', '.join(found)})" if found else ""
