"""What a verb of the command is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jsonargparse import ArgumentParser, Namespace

__all__ = ["Verb"]


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
    """

    name: str
    help: str
    description: str
    examples: tuple[str, ...]
    add_options: Callable[[ArgumentParser, list[str]], None]
    run: Callable[[Namespace, list[str]], None]
