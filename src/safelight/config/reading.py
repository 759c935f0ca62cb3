"""The strict way from JSON to frozen dataclasses and back; nothing named in it is imported or opened."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from safelight.errors import ConfigError

__all__ = ["MAX_COUNT", "MAX_SIZE", "check", "check_sizes", "did_you_mean", "from_dict", "to_dict"]

MAX_SIZE = 1 << 16  # declared sizes are capped before anything is allocated
MAX_COUNT = 10**9

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as plain JSON types."""
    return dataclasses.asdict(config)


def from_dict(cls: type[T], values: Any, where: str) -> T:
    """Build a config dataclass from parsed JSON, strictly; nothing named in it is imported or opened.

    Args:
        cls: a dataclass of this module.
        values: its fields; nested dataclasses as mappings.
        where: named in errors, such as "runs/first/config.json".

    Raises:
        ConfigError: an unknown or missing field, or a value of the wrong type or range.

    Example:
        >>> from_dict(ImageConfig, {"height": 8, "width": 8, "channels": 1}, "here").range
        (0, 255)
    """
    hints = get_type_hints(cls)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected an object of {', '.join(hints)}, got {values!r}")
    for name in values:
        if name not in hints:
            raise ConfigError(f"{where}: unknown key {name!r}; {did_you_mean(str(name), hints)}")
    for field_ in dataclasses.fields(cls):  # type: ignore[arg-type]
        required = field_.default is MISSING and field_.default_factory is MISSING
        if required and field_.name not in values:
            raise ConfigError(f"{where}: expected a key {field_.name!r}, but there is none")
    converted = {name: _convert(hints[name], value, where, name) for name, value in values.items()}
    try:
        return cls(**converted)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _convert(hint: Any, value: Any, where: str, name: str) -> Any:
    """A JSON value as the type that a field is declared with."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):  # only ever a type or None
        if value is None:
            return None
        return _convert(next(part for part in parts if part is not type(None)), value, where, name)
    if dataclasses.is_dataclass(hint):
        return from_dict(cast(type, hint), value, f"{where}: {name}")
    if origin is tuple and isinstance(value, list | tuple) and (... in parts or len(value) == len(parts)):
        return tuple(_convert(parts[0], item, where, name) for item in value)
    if origin is dict and isinstance(value, Mapping):
        return {str(key): _convert(parts[1], item, where, f"{name}.{key}") for key, item in value.items()}
    if origin is Literal and isinstance(value, str) and value in parts:
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is Any or (hint in (int, str, bool) and type(value) is hint):
        return value
    expected = {
        tuple: "a list",
        dict: "an object",
        Literal: f"one of {', '.join(map(str, parts))}",
    }
    described = expected.get(origin) or {int: "a whole number", float: "a number", bool: "true or false"}.get(
        hint, "text"
    )
    raise ConfigError(f"{where}: {name}: expected {described}, got {value!r}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name: the near ones, or all there are."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"


def check(condition: bool, name: str, expected: str, got: object) -> None:
    """Refuse a setting's value.

    Raises:
        ConfigError: the condition does not hold.
    """
    if not condition:
        raise ConfigError(f"{name}: expected {expected}, got {got}")


def check_sizes(config: object, *names: str) -> None:
    """Refuse sizes of a network that are none, or beyond `MAX_SIZE`."""
    for name in names:
        size = getattr(config, name)
        check(1 <= size <= MAX_SIZE, f"network.{name}", f"1 to {MAX_SIZE}", size)
