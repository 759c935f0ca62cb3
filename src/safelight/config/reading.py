"""The strict way from JSON to frozen dataclasses and back; nothing that JSON names is imported or opened.

A field that may hold one of several dataclasses is a tagged union: `field(metadata=tagged(TABLE))`, where the
table maps each tag to its class, and the tag is the value's own field `name`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from safelight.errors import ConfigError
from safelight.files import read_file

__all__ = [
    "CHOSEN",
    "DERIVED",
    "MAX_COUNT",
    "MAX_JSON_BYTES",
    "MAX_SEED",
    "MAX_SIZE",
    "check",
    "check_seed",
    "check_sizes",
    "did_you_mean",
    "fields_of",
    "from_dict",
    "plain",
    "read_json",
    "read_tagged",
    "tagged",
    "to_dict",
    "whole",
]

MAX_SIZE = 1 << 16  # declared sizes are capped before anything is allocated
MAX_COUNT = 10**9
MAX_SEED = 2**63 - 1
MAX_JSON_BYTES = 1 << 24

CHOSEN = {"chosen": True}  # the metadata of a field that is chosen from the images where nobody names it
DERIVED = {"derived": True}  # the metadata of a field that follows from the data, and is no one's choice

T = TypeVar("T")

_FIELDS: dict[type[Any], Mapping[str, Any]] = {}  # looked up once: a search reads thousands of configs


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as plain JSON types."""
    return dataclasses.asdict(config)


def tagged(table: Mapping[str, type[Any]]) -> dict[str, Any]:
    """The metadata of a field whose value is of one of a table's classes, told by its `name`."""
    return {"table": table}


def fields_of(cls: type[Any]) -> Mapping[str, Any]:
    """The fields of a config dataclass and their types, without its class variables."""
    if cls not in _FIELDS:
        hints = get_type_hints(cls)
        _FIELDS[cls] = MappingProxyType({f.name: hints[f.name] for f in dataclasses.fields(cls)})
    return _FIELDS[cls]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        OSError: it cannot be read.
        ConfigError: it is too large, no JSON, or no object.
    """
    try:
        content = read_file(path, MAX_JSON_BYTES)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    try:
        values = json.loads(content.decode(), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: expected JSON, got {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a JSON object, got {type(values).__name__}")
    return values


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's values, none of which replaces another unseen."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} twice; leave one")
    return values


def from_dict(cls: type[T], values: Any, where: str) -> T:
    """Build a config dataclass from parsed JSON, strictly.

    Args:
        cls: a dataclass of this wing.
        values: its fields; nested dataclasses as mappings.
        where: named in errors, such as "runs/first/config.json".

    Raises:
        ConfigError: an unknown or missing field, or a value of the wrong type or range.

    Example:
        >>> from safelight.config.data import Fit
        >>> from_dict(Fit, {"height": 8, "width": 8, "channels": 1}, "here").range
        (0.0, 255.0)
    """
    hints = fields_of(cls)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected an object of {', '.join(hints)}, got {values!r}")
    for name in values:
        if name not in hints:
            raise ConfigError(f"{where}: unknown key {name!r}; {did_you_mean(str(name), hints)}")
    converted = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        name = field.name
        if name not in values:
            if field.default is MISSING and field.default_factory is MISSING:
                raise ConfigError(f"{where}: expected a key {name!r}, but there is none")
        elif "table" in field.metadata:
            converted[name] = read_tagged(field.metadata["table"], values[name], f"{where}: {name}")
        else:
            converted[name] = _convert(hints[name], values[name], where, name)
    try:
        return cls(**converted)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def read_tagged(table: Mapping[str, type[Any]], values: Any, where: str) -> Any:
    """Build the one of a table's dataclasses that the values' `name` tells.

    Raises:
        ConfigError: no or an unknown name, or as in `from_dict`.

    Example:
        >>> from safelight.config.network import NETWORK_CONFIGS
        >>> read_tagged(NETWORK_CONFIGS, {"name": "conv-vae", "latent": 2}, "here")
        ConvVAEConfig(name='conv-vae', channels=32, latent=2)
    """
    if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
        raise ConfigError(f"{where}: expected an object with a name, got {values!r}")
    if values["name"] not in table:
        raise ConfigError(f"{where}: unknown name {values['name']!r}; {did_you_mean(values['name'], table)}")
    return from_dict(table[values["name"]], values, where)


def _convert(hint: Any, value: Any, where: str, name: str) -> Any:
    """A JSON value as the type that a field is declared with."""
    value = plain(value)
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


def plain(value: Any) -> Any:
    """A number of Python for one of NumPy or torch, which some hold for the same; anything else as it is.

    Example:
        >>> import numpy as np
        >>> plain(np.int64(3)), plain(np.float32(0.5)), plain("text")
        (3, 0.5, 'text')
    """
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


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


def whole(name: str, value: Any, least: int = 1, most: int = MAX_COUNT) -> int:
    """A whole number that was handed over in Python, also one of NumPy's.

    Raises:
        ConfigError: it is none, or out of range.

    Example:
        >>> whole("n", 7)
        7
    """
    number = plain(value)
    fits = type(number) is int and least <= number <= most
    bound = "up" if most == MAX_COUNT else f"to {most:,}"
    check(fits, name, f"a whole number from {least} {bound}", repr(number))
    return cast(int, number)


def check_seed(seed: Any) -> int:
    """A random seed, as a Python number.

    Raises:
        ConfigError: it is none.
    """
    return whole("seed", seed, 0, MAX_SEED)


def check_sizes(config: object, *names: str) -> None:
    """Refuse sizes of a network that are none, or beyond `MAX_SIZE`."""
    for name in names:
        size = getattr(config, name)
        check(1 <= size <= MAX_SIZE, f"network.{name}", f"1 to {MAX_SIZE}", size)
