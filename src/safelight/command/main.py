"""The `safelight` command: the table of its verbs, and what it answers when something goes wrong.

Everything heavy is imported inside the verbs, so that `--help` comes at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence

from jsonargparse import ArgumentParser

import safelight
from safelight.command import (
    classify,
    compare,
    data,
    denoise,
    embed,
    evaluate,
    evolve,
    explore,
    export,
    find,
    finetune,
    project,
    report,
    sample,
    suggest,
    train,
    traverse,
    walk,
)
from safelight.command.completion import completion
from safelight.command.console import complain, speak_anywhere
from safelight.command.options import make_parser, parse
from safelight.command.verb import Verb, refuse_idle
from safelight.errors import ConfigError, Interrupted, SafelightError
from safelight.files import why
from safelight.machine import prepare_process, shorten_spinning, torchrun_rank

__all__ = ["VERBS", "build_parser", "exit_code", "main"]

USER_MISTAKE, OUR_MISTAKE, INTERRUPTED = 2, 1, 130

VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        *(of.VERB for of in (train, evolve, finetune, classify, suggest, evaluate, report, compare)),
        *(of.VERB for of in (find, denoise, embed, project, sample, walk, traverse, explore, export, data)),
        completion(lambda verb, arguments: build_parser(verb, arguments)),
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: its arguments; by default those of this process, which is then ours alone and set up so.

    Returns:
        The exit code, as in `exit_code`.
    """
    is_ours = argv is None
    if is_ours:
        shorten_spinning()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    return exit_code(lambda: _dispatch([a for a in arguments if a != "--debug"], is_ours), debug)


def exit_code(action: Callable[[], None], debug: bool = False) -> int:
    """Do something, and say in one line what went wrong, if anything did.

    Args:
        action: what to do.
        debug: show the traceback too.

    Returns:
        0, 2 for a user's mistake, 1 for ours or a reader that left, 130 when interrupted.
    """
    speak_anywhere()
    try:
        action()
        sys.stdout.flush()
    except SystemExit as error:  # --help and --version
        return int(error.code or 0)
    except (KeyboardInterrupt, Interrupted) as error:
        complain(str(error) or "interrupted", debug)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as head, has seen enough
        _leave_stdout()
        return OUR_MISTAKE
    except SafelightError as error:
        complain(str(error), debug)
        return USER_MISTAKE
    except OSError as error:  # a disk, a permission: what the user's system answered
        _leave_stdout()
        place = error.filename or ("the output" if _is_of_output(error) else "no file named")
        complain(f"{place}: {why(error)}", debug)
        return USER_MISTAKE
    except Exception as error:
        complain(f"unexpected {type(error).__name__}: {error} (our mistake; --debug shows where)", debug)
        return OUR_MISTAKE
    return 0


def _leave_stdout() -> None:
    """What is still to be written to an output that takes no more goes nowhere."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_of_output(error: OSError) -> bool:
    """Whether printing raised it: nothing else in this wing writes."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).startswith(("safelight.command.", "rich."))


def build_parser(verb: str = "", arguments: Sequence[str] = ()) -> ArgumentParser:
    """The whole command line; what was typed after a verb may decide what options it has."""
    parser = make_parser("Learn from images that nobody labelled: train autoencoders, measure and show them.")
    parser.prog = "safelight"
    parser.add_argument("--version", action="version", version=f"safelight {safelight.__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    verbs = parser.add_subcommands(dest="verb", required=True)
    for name, known in VERBS.items():
        own = make_parser(known.description, *known.examples)
        verbs.add_subcommand(name, own, help=known.help)
        known.add_options(own, list(arguments) if name == verb else [])
    return parser


def _dispatch(arguments: list[str], is_ours: bool) -> None:
    verb, rest = next(iter(arguments), ""), arguments[1:]
    options = parse(build_parser(verb, rest), arguments)
    if torchrun_rank() is not None and options.verb != train.VERB.name:
        raise ConfigError(f"expected safelight train under torchrun, got {options.verb}; start it without")
    if is_ours:
        prepare_process()
    chosen, own = VERBS[options.verb], options[options.verb]
    refuse_idle(chosen, own, rest)
    chosen.run(own, rest)
