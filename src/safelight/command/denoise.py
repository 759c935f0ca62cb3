"""`safelight denoise`."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape

from safelight.command.console import err, name_of, out
from safelight.command.verb import Verb

__all__ = ["VERB"]

SHOWN = 3  # names of files that were left out for the same reason


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
    parser.add_argument("--overwrite", action="store_true", help="replace files that are in --out")


def _run(options: Namespace, arguments: list[str]) -> None:
    from rich.progress import track

    from safelight.run import Run
    from safelight.runs.cleaning import clean_files, plan

    run = Run(options.run)
    cleaner = run.cleaner()
    files = plan(
        [Path(name) for name in options.noisy], Path(options.out), options.compare, options.overwrite
    )
    if run.config.task.name != "denoise":
        err.print(
            f"safelight: {name_of(run.path)} was never trained on noise: what it draws is what its training "
            "images were like, not what is under the noise; train with --corrupt gaussian:0..1"
        )
    left_out: dict[str, list[Path]] = {}
    scaled = 0
    cleaned = clean_files(cleaner, files, options.compare)
    bar = track(cleaned, "cleaning", len(files), console=err, transient=True, disable=not err.is_terminal)
    for done in bar:
        scaled += done.was_scaled
        if done.error is not None:
            if len(files) == 1:
                raise done.error
            reason = str(done.error).replace(f" in {done.source}", "")
            left_out.setdefault(reason, []).append(done.source)
    for reason, sources in left_out.items():
        err.print(f"left out {_named(sources)}: {escape(reason)}")
    if scaled:
        size = f"{cleaner.fit.width}×{cleaner.fit.height}"
        err.print(
            f"{scaled:,} scaled to {size} and back, as this network takes no other size, which loses what is "
            "fine; a denoising-unet takes any"
        )
    failed = sum(map(len, left_out.values()))
    out.print(f"Cleaned {len(files) - failed:,} of {len(files):,} files into {name_of(Path(options.out))}")
    if failed:
        raise SystemExit(1)


def _named(sources: list[Path]) -> str:
    names = ", ".join(name_of(source) for source in sources[:SHOWN])
    more = f" and {len(sources) - SHOWN:,} more" if len(sources) > SHOWN else ""
    return f"{len(sources):,} files ({names}{more})" if len(sources) > 1 else names


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
