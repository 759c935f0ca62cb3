"""Options made from config dataclasses, and the reading of a command line."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

import docstring_parser
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from safelight.config.network import NETWORK_CONFIGS
from safelight.config.reading import did_you_mean, fields_of
from safelight.config.task import TASK_CONFIGS
from safelight.errors import ConfigError

__all__ = ["add_fields", "is_given", "make_parser", "option", "parse"]


def make_parser(description: str, *examples: str) -> ArgumentParser:
    """A parser that raises what is wrong instead of printing it."""
    epilog = "example:\n" + "\n".join(f"  {example}" for example in examples) if examples else None
    return ArgumentParser(
        description=description,
        epilog=epilog,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def option(name: str, prefix: str = "") -> str:
    """A field's option.

    Example:
        >>> option("weight_decay"), option("latent", "network.")
        ('--weight-decay', '--network.latent')
    """
    return f"--{prefix}{name.replace('_', '-')}"


def add_fields(
    group: Any,
    config: Any,
    prefix: str = "",
    *,
    given_only: bool = False,
    defaults: Mapping[str, str] = MappingProxyType({}),
    left_open: Container[str] = (),
) -> None:
    """An option for each field of a config dataclass, its help taken from the docstring.

    Args:
        group: of a parser.
        config: an instance, whose values are the defaults.
        prefix: of the options.
        given_only: an option that is not given is None.
        defaults: in words, of fields for which the config's value is not what an option left out means.
        left_open: fields that are chosen from the images; without the option they are None.
    """
    described = {p.arg_name: p.description for p in docstring_parser.parse(type(config).__doc__ or "").params}
    hints = fields_of(type(config))
    for field in dataclasses.fields(config):
        name, hint, value = field.name, hints[field.name], getattr(config, field.name)
        if name == "name" or {"table", "derived"} & set(field.metadata):  # a tag has an option of its own
            continue
        kind: dict[str, Any] = {"type": hint, "metavar": name.upper()}
        if "choices" in field.metadata:
            kind = {"choices": tuple(field.metadata["choices"])}
        elif get_origin(hint) is Literal:
            kind = {"choices": get_args(hint)}
        elif hint == tuple[int, ...]:
            kind = {"type": _numbers, "metavar": "N,N,..."}
        elif hint == tuple[str, ...]:
            kind = {"type": _words, "metavar": "NAME,..."}
        elif hint is bool:
            kind = {"action": "store_true"}
        is_open = name in left_open
        shown = (
            "chosen from the images"
            if is_open
            else defaults.get(name, ",".join(map(str, value)) if isinstance(value, tuple) else value)
        )
        suffix = "" if shown in (None, "", False) else f" (default: {shown})"
        default = None if is_open or (given_only and hint is not bool) else value
        group.add_argument(option(name, prefix), default=default, help=f"{described[name]}{suffix}", **kind)


def is_given(value: object) -> bool:
    """Whether an option of `add_fields(..., given_only=True)` was given; 0 is a value."""
    return value is not None and value is not False


def _numbers(value: str | tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(value, tuple):
        return value
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers such as 32,64, got {value}") from None


def _words(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else tuple(value.split(","))


def parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """Read the command line; without any, show the help.

    Raises:
        ConfigError: an option or a value that does not fit, with the nearest that does.
    """
    if not arguments:
        parser.print_help()
        raise SystemExit(2)
    try:
        return parser.parse_args(arguments)
    except ArgumentError as error:
        message = _one_line(error)[:300]
        verbs = next(a.choices for a in parser._actions if isinstance(a.choices, dict))
        chosen = verbs.get(arguments[0], parser)
        unknown = re.search(r"(?i)unrecognized arguments: (--[^\s=]+)", message)
        if unknown:
            options = [name for name in chosen._option_string_actions if name.startswith("--")]
            if arguments[0] == "evolve" and unknown[1] in verbs["train"]._option_string_actions:
                raise ConfigError(
                    f"{unknown[1]} is an option of safelight train; a search has such settings from its "
                    "genes, and from --config what no gene decides"
                ) from None
            other = _owner(unknown[1])
            advice = f"{other} has it" if other else did_you_mean(unknown[1], options)
            raise ConfigError(f"unknown option {unknown[1]}; {advice}") from None
        program = f"safelight {arguments[0]}" if chosen is not parser else "safelight"
        raise ConfigError(f"{message}; see {program} --help") from None
    except OverflowError:
        raise ConfigError("expected numbers that a computer can hold, got a larger one") from None


def _owner(name: str) -> str:
    """The choice of network or task that brings an option along, where there is one."""
    for choice, table, prefix in (("--task", TASK_CONFIGS, ""), ("--model", NETWORK_CONFIGS, "network.")):
        for value, config in table.items():
            if name in {option(field, prefix) for field in fields_of(config) if field != "name"}:
                return f"{choice} {value}"
    return ""


def _one_line(error: Exception) -> str:
    """A parser's message without its line breaks and Python's names for types."""
    text = re.sub(r"\s+", " ", str(error))
    union = (  # of one type and None
        r'Parser key "([^"]*)": Does not validate against any of the Union subtypes '
        r"Subtypes: \[<class '(\w+)'>, <class 'NoneType'>\] .*Given value: (.*)"
    )
    text = re.sub(union, r"\1: expected \2, got \3", text)
    text = re.sub(r'Parser key "([^"]*)": Expected', r"\1: expected", text)
    text = re.sub(r"expected an? (?:<class '(\w+)'>|(?:typing\.)?(\S[^.]*))", r"expected \1\2", text)
    return text.replace(". Got value: ", ", got ")
