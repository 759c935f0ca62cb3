"""`safelight export`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import name_of, out
from safelight.command.pages import add_page, write_page
from safelight.command.verb import Idle, Verb
from safelight.errors import ConfigError

__all__ = ["VERB"]


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("run", type=str, help="run folder")
    parser.add_argument("--onnx", type=str, metavar="FOLDER", help="folder for ONNX files and their README")
    parser.add_argument(
        "--single-file", type=str, metavar="FILE", help="an .html file to walk through the latent space in"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    add_page(parser.add_argument_group("The page"))


def _run(options: Namespace, arguments: list[str]) -> None:
    if not (options.onnx or options.single_file):
        raise ConfigError("export: expected what to write, --single-file digits.html or --onnx networks/")
    from safelight.latent.export import MODELS
    from safelight.networks.base import Autoencoder
    from safelight.run import Run

    run = Run(options.run)
    if options.onnx:
        folder = run.export(options.onnx, options.overwrite)
        made = ", ".join(name for name in MODELS if (folder / name).exists())
        out.print(f"{made}, the same as torch within 1e-4 of their scale, and a README: {name_of(folder)}")
    if options.single_file:
        path = write_page(run, options.single_file, options, options.overwrite)
        held = "names, labels and codes" if options.no_images else "images, names, labels and codes"
        out.print(f"Page: {name_of(path)} ({path.stat().st_size / 1e6:.1f} MB), opens in any browser")
        draws = isinstance(run.network, Autoencoder)  # a classifier's page needs no network
        network = ", and a network that can draw what it learned from them" * draws
        out.print(f"It holds {held} of training images{network}.")


def _idle(options: Namespace, arguments: list[str]) -> Idle:
    if options.single_file or not options.onnx:
        return {}
    return dict.fromkeys(("--n", "--no-images"), "ONNX files hold no images, only --single-file does")


VERB = Verb(
    "export",
    "write the page as one file, or the networks as ONNX files",
    "Write a run as one page to mail or host, in which a browser encodes and decodes; or as ONNX files, "
    "which take and give pixels, with a README that feeds them any picture; classifiers and U-Nets too.",
    (
        "safelight export runs/first --single-file digits.html",
        "safelight export runs/first --onnx networks/",
    ),
    _add_options,
    _run,
    _idle,
)
