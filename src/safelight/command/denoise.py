"""`safelight denoise`."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape

from safelight.command.console import err, name_of, out
from safelight.command.verb import Verb

__all__ = ["VERB"]


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("run", type=str, help="run folder, of training with --corrupt or --self-supervised")
    parser.add_argument(
        "noisy",
        type=str,
        nargs="+",
        help="pictures (PNG, JPEG, TIFF, WebP, BMP, GIF), .npy files, or folders, also of folders",
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
        "--average-turns",
        action="store_true",
        help="average over the picture mirrored and turned, eight ways: a little better, eight times as long",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are in --out")


def _run(options: Namespace, arguments: list[str]) -> None:
    from rich.progress import track

    from safelight.cleaning.files import clean_files
    from safelight.cleaning.planning import plan
    from safelight.run import Run

    run = Run(options.run)
    cleaner = run.cleaner(options.average_turns)
    files = plan(
        [Path(name) for name in options.noisy], Path(options.out), options.compare, options.overwrite
    )
    if run.config.task.name != "denoise":
        err.print(
            f"safelight: {name_of(run.path)} was never trained on noise: what it draws is what its training "
            "images were like, not what is under the noise; train with --corrupt gaussian:0..1"
        )
    failed: dict[str, list[str]] = {}
    doubtful = 0
    cleaned = clean_files(cleaner, files, options.compare)
    bar = track(cleaned, "cleaning", len(files), console=err, transient=True, disable=not err.is_terminal)
    for done in bar:
        if done.error is not None:
            if len(files) == 1:
                raise done.error
            failed.setdefault(str(done.error), []).append(name_of(done.source))
        elif done.doubt is not None:
            doubtful += 1
            err.print(f"doubtful {name_of(done.source)}: the result {escape(done.doubt)}")
    for reason, names in failed.items():
        others = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        err.print(f"left out {names[0]}{others}: {escape(reason)}")
    if cleaner.has_scaled:
        _, height, width = cleaner.shape
        err.print(
            f"safelight: this network draws {width}×{height} pixels: larger pictures were scaled to that and "
            "back, and keep no finer detail; a denoising-unet takes any size"
        )
    count = len(files) - sum(map(len, failed.values()))
    out.print(f"Cleaned {count:,} of {len(files):,} files into {name_of(Path(options.out))}")
    if doubtful:
        err.print(
            f"safelight: {doubtful:,} of the results differ{'s' * (doubtful == 1)} from what came in by more "
            "than noise; look at them with --compare, and train on pictures such as these (safelight train "
            "FOLDER --model denoising-unet --self-supervised needs no clean ones)"
        )
    if failed or doubtful:
        raise SystemExit(1)


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
)
