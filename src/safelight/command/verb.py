"""What a verb of the command is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jsonargparse import ArgumentParser, Namespace

from safelight.errors import ConfigError

__all__ = ["Idle", "Verb", "refuse_idle"]

Idle = Mapping[str, str]  # options that would do nothing in a call, and why


@dataclass(frozen=True)
class Verb:
    """One verb; a module of its own holds its options, what it does and what it prints.

    Attributes:
        name: as it is typed.
        help: a line in the list of verbs.
        description: what its own help begins with.
        examples: what its own help ends with.
        add_options: adds its options to its parser, given what was typed after the verb, which may decide
            what other options there are.
        run: does it, given the parsed options and what was typed after the verb.
        idle: the options that would do nothing in a call, given the same: to give one of them is refused.
    """

    name: str
    help: str
    description: str
    examples: tuple[str, ...]
    add_options: Callable[[ArgumentParser, list[str]], None]
    run: Callable[[Namespace, list[str]], None]
    idle: Callable[[Namespace, list[str]], Idle] = lambda options, arguments: {}


def refuse_idle(verb: Verb, options: Namespace, arguments: list[str]) -> None:
    """Make sure that every option that was given acts.

    Raises:
        ConfigError: one would be ignored.
    """
    given = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    for name, why in verb.idle(options, arguments).items() if given else ():
        if name in given:
            raise ConfigError(f"{name} would do nothing here: {why}; leave it out")
