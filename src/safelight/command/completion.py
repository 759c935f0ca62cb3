"""`safelight completion`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from safelight.command.verb import Verb
from safelight.config.network import NETWORK_CONFIGS
from safelight.config.task import TASK_CONFIGS

__all__ = ["completion"]

SHELLS = ("bash", "zsh", "fish")
CHOICES = {"--task": TASK_CONFIGS, "--model": NETWORK_CONFIGS}  # which bring along options of their own


Build = Callable[[str, list[str]], ArgumentParser]


def completion(build: Build) -> Verb:
    """The verb.

    Args:
        build: the whole command line, given what was typed: a verb and what follows it.
    """

    def run(options: Namespace, arguments: list[str]) -> None:
        import shtab

        whole = _whole(build)
        _prepare(whole, shtab.FILE)
        sys.stdout.write(shtab.complete(whole, options.shell).rstrip() + "\n")

    return Verb(
        "completion",
        "let Tab complete verbs, options, values and files",
        "Print what makes a shell complete verbs, options, their values and files at Tab. They are this "
        "version's once the shell is started anew.",
        (
            'eval "$(safelight completion bash)"       # in ~/.bashrc',
            'eval "$(safelight completion zsh)"        # in ~/.zshrc, after compinit',
            "safelight completion fish | source        # in ~/.config/fish/config.fish",
        ),
        _add_options,
        run,
    )


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to complete")


def _whole(build: Build) -> ArgumentParser:
    """The command line with the options of every task and network at once: a shell's script is made once."""
    whole = build("", [])
    for verb, parser in _verbs(whole).items():
        for option, table in CHOICES.items():
            for value in table if option in parser._option_string_actions else ():
                for action in _verbs(build(verb, [option, value]))[verb]._actions:
                    if (
                        not action.option_strings
                        or action.option_strings[-1] in parser._option_string_actions
                    ):
                        continue
                    parser._actions.append(action)
                    parser._option_string_actions[action.option_strings[-1]] = action
    return whole


def _verbs(parser: ArgumentParser) -> dict[str, Any]:
    """A parser's verbs and theirs; none for most."""
    found = _verbs_action(parser)
    return {} if found is None else found.choices


def _verbs_action(parser: ArgumentParser) -> Any:
    return next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)


def _prepare(parser: ArgumentParser, files: Any) -> None:
    """Free words are names of files, or of folders; beside a verb stands its line of help."""
    action: Any  # to which shtab adds an attribute
    for action in parser._actions:
        if action.choices is None and getattr(action, "_typehint", None) is str:
            action.complete = files
    for name, verb in _verbs(parser).items():
        verb.description = next(a.help for a in _verbs_action(parser)._choices_actions if a.dest == name)
        _prepare(verb, files)
