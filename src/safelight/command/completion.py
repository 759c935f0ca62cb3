"""`safelight completion`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from safelight.command.verb import Verb
from safelight.config.network import NETWORK_CONFIGS
from safelight.config.task import TASK_CONFIGS

__all__ = ["VERB"]

SHELLS = ("bash", "zsh", "fish")
CHOICES = {"--task": TASK_CONFIGS, "--model": NETWORK_CONFIGS}  # which bring along options of their own


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to complete")


def _run(options: Namespace, arguments: list[str]) -> None:
    import shtab

    whole = _whole()
    _with_files(whole, shtab.FILE)
    sys.stdout.write(shtab.complete(whole, options.shell).rstrip() + "\n")


def _whole() -> ArgumentParser:
    """The command line with the options of every task and network at once: a shell's script is made once."""
    from safelight.command.main import VERBS, build_parser

    whole = build_parser()
    for verb, parser in _verbs(whole).items():
        parser.description = VERBS[verb].help  # a line, beside the verb
        for option, table in CHOICES.items():
            for value in table if option in parser._option_string_actions else ():
                for action in _verbs(build_parser(verb, [option, value]))[verb]._actions:
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
    return next((a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)), {})


def _with_files(parser: ArgumentParser, files: Any) -> None:
    """Free words are names of files, or of folders."""
    action: Any  # to which shtab adds an attribute
    for action in parser._actions:
        if action.choices is None and getattr(action, "_typehint", None) is str:
            action.complete = files
    for verb in _verbs(parser).values():
        _with_files(verb, files)


VERB = Verb(
    "completion",
    "let Tab complete verbs, options, values and files",
    "Print what makes a shell complete verbs, options, their values and files at Tab. They are "
    "this version's once the shell is started anew.",
    (
        'eval "$(safelight completion bash)"       # in ~/.bashrc',
        'eval "$(safelight completion zsh)"        # in ~/.zshrc, after compinit',
        "safelight completion fish | source        # in ~/.config/fish/config.fish",
    ),
    _add_options,
    _run,
)
