"""The layer of the environment and how it lies over the file, as pydantic-settings does both.

A module of its own so that a start whose environment has nothing to say does not load it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from agent import config
from agent.settings import DELIMITER, PREFIX, bare, is_table


def merged(environment: dict[str, Any], file: dict[str, Any]) -> config.Config:
    """The settings of both; the environment wins. Raises ValidationError."""
    layered = _Layered(layers=(environment, file))  # type: ignore[call-arg]
    return config.Config(**{name: getattr(layered, name) for name in config.Config.model_fields})


class _Layered(config.Config, BaseSettings):
    """Config as pydantic-settings wants it. The layers come as arguments; nothing is read behind our back."""

    model_config = SettingsConfigDict(
        case_sensitive=True,  # or [Agent] would pass as [agent]; names of variables are made lower case before
        env_prefix=PREFIX.lower(),
        env_nested_delimiter=DELIMITER,
        extra="forbid",
        frozen=True,
        validate_default=False,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The first wins."""
        return tuple(InitSettingsSource(settings_cls, layer) for layer in init_settings()["layers"])


class Environment(EnvSettingsSource):
    """The layer of the environment, from given variables instead of the process's own."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = {name.lower(): value for name, value in variables.items()}
        super().__init__(_Layered)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._variables

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ARG002
        """Text that is no JSON stays text: validation then says so with all the rest, instead of ending here."""
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value

    def __call__(self) -> dict[str, Any]:
        return _as_in_toml(super().__call__(), config.Config)


def _as_in_toml(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Numbers and booleans out of their text: the tables are strict about them, and a variable can hold text only."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        field = model.model_fields.get(key)
        kind = bare(field.annotation) if field else None
        if isinstance(value, dict) and is_table(kind):
            result[key] = _as_in_toml(value, kind)
        elif isinstance(value, str) and kind is bool:
            result[key] = {"true": True, "false": False}.get(value.lower(), value)
        elif isinstance(value, str) and kind is int and re.fullmatch(r"-?[0-9]{1,18}", value):
            result[key] = int(value)
        else:
            result[key] = value
    return result
