"""How well networks and classic filters clean MNIST's test images of noise clipped to [0, 1], and more.

A filter's setting is chosen on validation images, apart for each kind of noise and severity. Networks are
trained by the command a user types, on the first 50,000 images. Finished cells are kept in --runs and not
computed again.

    python benchmarks/denoising.py filters    # the best of each filter, at three strengths of noise
    python benchmarks/denoising.py curves     # the same by kind of corruption and severity
    python benchmarks/denoising.py networks   # trains and measures them
    python benchmarks/denoising.py blind      # learning from noisy images alone
    python benchmarks/denoising.py pictures   # docs/denoising.png and docs/denoising-curves.png
    python benchmarks/denoising.py save       # results/denoising-DATE.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
import torch
from machine import save
from numpy.typing import NDArray
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet

import safelight
from deep_learning_hw2.denoising import draw
from safelight.config.corruption import CORRUPTIONS
from safelight.data.corruption import Corruption
from safelight.files import write_atomically
from safelight.reporting.charts import LIGHT, render
from safelight.reporting.evaluation_charts import severity_chart
from safelight.tasks.fidelity import psnr

Images = NDArray[np.float64]  # (N, H, W)

DOCS = Path(__file__).parents[1] / "docs"
SIGMAS = (0.2, 0.5, 1.0)
VALIDATION, TEST, CURVE_VALIDATION, CURVE_TEST = 100, 500, 50, 200
SLOW = {"bm3d": (25, 100)}  # images to choose on and to measure on
SHEET = 5  # BM3D takes 0.6 s an image, but 0.06 s in sheets of 5×5, from which it gains some 0.1 dB
SAFELIGHT = [sys.executable, "-m", "safelight"]
GAUSSIAN = "--corrupt gaussian:0..1"
RUNS = {
    "denoising-unet": f"--model denoising-unet {GAUSSIAN} --epochs 9 --lr 2e-3 --precision bfloat16",
    "deep-conv-ae": f"--model deep-conv-ae {GAUSSIAN} --network.latent 64 --precision bfloat16",
    "conv-vae": f"--model conv-vae {GAUSSIAN} --epochs 3 --batch-size 49 --lr 7e-3",
}
SMALL = "--network.channels 32,64 --epochs 2 --lr 2e-3 --precision bfloat16 --validation 1000"
BLIND = f"--model denoising-unet --self-supervised {SMALL}"


def bm3d(sheet: Images, sigma: float) -> Images:
    import bm3d as library

    return np.asarray(library.bm3d(sheet, sigma))


# A filter of one image, and the settings to choose from.
FILTERS: dict[str, tuple[Callable[[Images, Any], Any], tuple[float, ...]]] = {
    "median": (scipy.ndimage.median_filter, (3, 5, 7)),
    "gaussian": (scipy.ndimage.gaussian_filter, (0.3, 0.5, 0.7, 1.0, 1.4)),
    "total variation": (denoise_tv_chambolle, (0.03, 0.06, 0.12, 0.25, 0.5, 1.0)),
    "non-local means": (lambda x, h: denoise_nl_means(x, 5, 9, h), (0.05, 0.1, 0.2, 0.4, 0.8)),
    "wavelet": (denoise_wavelet, (0.05, 0.1, 0.2, 0.4, 0.8)),
    "bm3d": (bm3d, (0.07, 0.14, 0.25, 0.4, 0.6)),
}


def filtered(name: str, setting: float, images: Images) -> Images:
    """Images after a filter."""
    function, _ = FILTERS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # levels of wavelets in small images
        if name != "bm3d":
            return np.stack([function(image, setting) for image in images])
        n, height, width = images.shape
        sheets = images.reshape(-1, SHEET, SHEET, height, width).swapaxes(2, 3)
        cleaned = np.stack([function(sheet.reshape(SHEET * height, -1), setting) for sheet in sheets])
        tiles = cleaned.reshape(-1, SHEET, height, SHEET, width).swapaxes(2, 3)
        return np.asarray(tiles.reshape(n, height, width))


class Cells:
    """Results by name, written one by one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def fill(self, name: str, compute: Callable[..., Any], *arguments: Any) -> None:
        if name not in self.values:
            self.values[name] = compute(*arguments)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, json.dumps(self.values, indent=1))
            print(f"{name}: {self.values[name]}", flush=True)


def pairs(split: str, corrupt: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy and true images, (N, 1, H, W), the noise the same for all methods."""
    true = safelight.load("mnist", split=split).floats(slice(count))
    return Corruption(corrupt)(true, torch.Generator().manual_seed(1)), true


def mean_psnr(cleaned: Any, true: torch.Tensor) -> float:
    images = torch.as_tensor(np.asarray(cleaned), dtype=torch.float32).clamp(0, 1).view_as(true)
    return round(float(psnr(images, true).mean()), 3)


def best(name: str, corrupt: str, validation: int, test: int) -> dict[str, Any]:
    """A filter at the setting that is best on validation images, measured on test images."""
    validation, test = SLOW.get(name, (validation, test))

    def score(setting: float, split: str, count: int) -> float:
        noisy, true = pairs(split, corrupt, count)
        return mean_psnr(filtered(name, setting, noisy[:, 0].double().numpy()), true)

    setting = max(FILTERS[name][1], key=lambda setting: score(setting, "validation", validation))
    return {"setting": setting, "psnr": score(setting, "test", test), "images": test}


def filters(cells: Cells, runs: Path) -> None:
    for sigma in SIGMAS:
        corrupt = f"gaussian:{sigma:g}"
        cells.fill(f"noisy, {corrupt}", unfiltered, corrupt, 10_000)
        for name in FILTERS:
            cells.fill(f"{name}, {corrupt}", best, name, corrupt, VALIDATION, TEST)


def severities() -> Iterator[str]:
    for kind in CORRUPTIONS:
        for severity in CORRUPTIONS[kind].curve:
            yield f"{kind}:{severity:g}"


def curves(cells: Cells, runs: Path) -> None:
    network = safelight.Run(runs / "denoising-unet")
    for corrupt in severities():
        cells.fill(f"curve, noisy, {corrupt}", unfiltered, corrupt, CURVE_TEST)
        cells.fill(f"curve, denoising-unet, {corrupt}", denoised, network, corrupt, CURVE_TEST)
        for name in FILTERS:
            if name != "bm3d" or corrupt.startswith("gaussian"):
                cells.fill(f"curve, {name}, {corrupt}", best, name, corrupt, CURVE_VALIDATION, CURVE_TEST)


def networks(cells: Cells, runs: Path) -> None:
    for name, options in RUNS.items():
        run = trained(runs / name, "mnist", options)
        for sigma in SIGMAS:
            cells.fill(f"{name}, gaussian:{sigma:g}", measured, run, f"gaussian:{sigma:g}")
        seconds = sum(record["seconds"] for record in run.history)
        cells.fill(f"{name}, training", lambda options, seconds: locals(), options, round(seconds))


def blind(cells: Cells, runs: Path) -> None:
    """Learn from 50,000 noisy images alone, each noisy in one way; measure on test images of such noise."""
    noisy, _ = pairs("train", "gaussian:0.5", 50_000)
    path = runs / "noisy.npy"
    if not path.exists():
        np.save(path, (noisy * 255).round().byte().numpy())
    run = trained(runs / "blind", str(path), BLIND)
    cells.fill("noise2self, gaussian:0.5", denoised, run, "gaussian:0.5", 10_000)
    cells.fill("noise2self, training", lambda options: locals(), BLIND)


def pictures(cells: Cells, runs: Path) -> None:
    """README's strip, and the curves beside the best classic filter of each point."""
    noisy, true = pairs("test", "gaussian:0.5", 10)
    setting = cells.values["median, gaussian:0.5"]["setting"]
    rows = {
        "noise of 0.5": noisy[:, 0].numpy(),
        "best classic filter": filtered("median", setting, noisy[:, 0].double().numpy()),
        "denoising-unet": safelight.Run(runs / "denoising-unet").denoise(noisy.numpy())[:, 0],
        "truth": true[:, 0].numpy(),
    }
    write_atomically(DOCS / "denoising.png", render(draw(rows, {})))
    curves = {kind: curve(cells, kind) for kind in CORRUPTIONS}
    write_atomically(DOCS / "denoising-curves.png", render(severity_chart(curves, LIGHT)))


def curve(cells: Cells, kind: str) -> dict[str, Any]:
    def psnr_of(name: str, severity: float) -> float:
        cell = cells.values.get(f"curve, {name}, {kind}:{severity:g}", {"psnr": 0.0})
        return float(cell["psnr"] if isinstance(cell, dict) else cell)

    return {
        "severity": CORRUPTIONS[kind].curve,
        "psnr": [psnr_of("denoising-unet", severity) for severity in CORRUPTIONS[kind].curve],
        "psnr_noisy": [psnr_of("noisy", severity) for severity in CORRUPTIONS[kind].curve],
        "psnr_classic": [
            max(psnr_of(name, severity) for name in FILTERS) for severity in CORRUPTIONS[kind].curve
        ],
        "trained": kind == "gaussian",
    }


def unfiltered(corrupt: str, count: int) -> float:
    return mean_psnr(*pairs("test", corrupt, count))


def denoised(run: safelight.Run, corrupt: str, count: int) -> float:
    noisy, true = pairs("test", corrupt, count)
    return mean_psnr(run.denoise(noisy.numpy()), true)


def measured(run: safelight.Run, corrupt: str) -> dict[str, Any]:
    values = run.evaluate("test", corrupt=corrupt)
    return {k: v for k, v in values.items() if k not in ("severity_curves", "corrupt", "split")}


def trained(out: Path, data: str, options: str) -> safelight.Run:
    start = (
        ["--resume", str(out)]
        if out.exists()
        else [data, *options.split(), "--threads", "1", "--out", str(out)]
    )
    subprocess.run([*SAFELIGHT, "train", *start], check=True, stdout=sys.stderr)
    return safelight.Run(out)


PARTS = {
    "filters": filters,
    "networks": networks,
    "curves": curves,
    "blind": blind,
    "pictures": pictures,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("part", choices=[*PARTS, "save"])
    parser.add_argument("--runs", type=Path, default=Path("runs/denoising"), help="run folders and cells")
    chosen = parser.parse_args()
    torch.set_flush_denormal(True)
    cells = Cells(chosen.runs / "cells.json")
    if chosen.part == "save":
        print(save("denoising", {"cells": cells.values}))
    else:
        PARTS[chosen.part](cells, chosen.runs)


if __name__ == "__main__":
    main()
