"""`safelight completion`, and what the shell asks the command at every Tab."""

from __future__ import annotations

import os
import sys

from jsonargparse import ArgumentParser, Namespace

from safelight.command.verb import Verb

__all__ = ["SHELLS", "VERB", "typed"]

SHELLS = ("bash", "zsh", "fish")


def typed() -> list[str] | None:
    """The words after the command's name, up to where Tab was pressed; None where it was not.

    What a verb's options are depends on them, and jsonargparse lets argcomplete answer once it parses.
    """
    if "_ARGCOMPLETE" not in os.environ:
        return None
    from argcomplete.lexers import split_line

    line, point = os.environ["COMP_LINE"], int(os.environ["COMP_POINT"])
    words: list[str] = split_line(line.encode()[:point].decode(errors="ignore"))[3]
    return words[int(os.environ["_ARGCOMPLETE"]) :]


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to complete")


def _run(options: Namespace, arguments: list[str]) -> None:
    import argcomplete

    sys.stdout.write(argcomplete.shellcode(["safelight"], shell=options.shell) + "\n")


VERB = Verb(
    "completion",
    "let Tab complete verbs, options, values and files",
    "Print what makes a shell complete the command's verbs, options, values and files at Tab.",
    (
        'eval "$(safelight completion bash)"      # in ~/.bashrc',
        'eval "$(safelight completion zsh)"       # in ~/.zshrc, after compinit',
        "safelight completion fish | source       # in ~/.config/fish/config.fish",
    ),
    _add_options,
    _run,
)
