"""`safelight export`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import name_of, out
from safelight.command.verb import Verb

__all__ = ["VERB"]


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("run", type=str, help="run folder")
    parser.add_argument(
        "--onnx", type=str, metavar="FOLDER", required=True, help="folder for encoder.onnx and decoder.onnx"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")


def _run(options: Namespace, arguments: list[str]) -> None:
    from safelight.run import Run

    folder = Run(options.run).export(options.onnx, options.overwrite)
    out.print(f"Encoder and decoder, the same as torch's within 1e-4: {name_of(folder)}")


VERB = Verb(
    "export",
    "write encoder and decoder as ONNX files",
    "Write encoder and decoder as ONNX files, which take and give pixels, and a README about them.",
    ("safelight export runs/first --onnx networks/",),
    _add_options,
    _run,
)
