"""`safelight denoise`."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape

from safelight.command.console import err, name_of, out
from safelight.command.verb import Idle, Verb
from safelight.config.network import UNetConfig

__all__ = ["VERB"]


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("run", type=str, help="run folder, of training with --corrupt or --self-supervised")
    parser.add_argument(
        "noisy",
        type=str,
        nargs="+",
        help="pictures (PNG, JPEG, TIFF, WebP, BMP, GIF), .npy files, or folders",
    )
    parser.add_argument(
        "--out", type=str, required=True, help="folder for the clean ones, or the file for a single one"
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="also write NAME-compare.png: before, after and their difference",
    )
    parser.add_argument(
        "--resize",
        action="store_true",
        help="where a network takes one size alone: scale pictures to it, and the results back",
    )
    parser.add_argument(
        "--average-turns",
        action="store_true",
        help="average over the picture mirrored and turned, eight ways: a little better, eight times as long",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are in --out")


def _run(options: Namespace, arguments: list[str]) -> None:
    from rich.progress import track

    from safelight.run import Run
    from safelight.runs.cleaning import clean_files, plan

    run = Run(options.run)
    cleaner = run.cleaner(options.resize, options.average_turns)
    files = plan(
        [Path(name) for name in options.noisy], Path(options.out), options.compare, options.overwrite
    )
    if run.config.task.name != "denoise":
        err.print(
            f"safelight: {name_of(run.path)} was never trained on noise: what it draws is what its training "
            "images were like, not what is under the noise; train with --corrupt gaussian:0..1"
        )
    failed = doubtful = 0
    cleaned = clean_files(cleaner, files, options.compare)
    bar = track(cleaned, "cleaning", len(files), console=err, transient=True, disable=not err.is_terminal)
    for done in bar:
        if done.error is not None:
            if len(files) == 1:
                raise done.error
            failed += 1
            err.print(f"left out {name_of(done.source)}: {escape(str(done.error))}")
        elif done.doubt is not None:
            doubtful += 1
            err.print(f"doubtful {name_of(done.source)}: the result {escape(done.doubt)}")
    out.print(f"Cleaned {len(files) - failed:,} of {len(files):,} files into {name_of(Path(options.out))}")
    if doubtful:
        err.print(
            f"safelight: {doubtful:,} of the results differ{'s' * (doubtful == 1)} from what came in by more "
            "than noise; look at them with --compare, and train on pictures such as these (safelight train "
            "FOLDER --model denoising-unet --self-supervised needs no clean ones)"
        )
    if failed or doubtful:
        raise SystemExit(1)


def _idle(options: Namespace, arguments: list[str]) -> Idle:
    from safelight.runs.folder import RunFolder

    takes_any_size = isinstance(RunFolder(options.run).read_config().network, UNetConfig)
    return {"--resize": "this network takes pictures of any size"} if takes_any_size else {}


VERB = Verb(
    "denoise",
    "clean noisy pictures",
    "Clean pictures and arrays with a trained network; each comes out as the kind of file it was.",
    (
        "safelight denoise runs/clean noisy/ --out cleaned",
        "safelight denoise runs/clean img.png --out img_clean.png --compare",
    ),
    _add_options,
    _run,
    _idle,
)
