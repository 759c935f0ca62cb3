"""What the defaults make of any pictures: python benchmarks/any_pictures.py RESULTS.json SET...

Each SET is what `safelight train` takes: a named set, an array, a folder. It is trained by nothing but the
defaults on one thread, and measured on validation and test images beside PCA of as many dimensions. The set
"shapes" is drawn here, 5,000 images by five known factors, which boosted trees that have seen the codes of
training images tell from those of test images; docs/shapes.png shows some. Each set is written into the
results when it is done; those that are there already are left out, so that a benchmark that was stopped goes
on.
"""

from __future__ import annotations

import argparse
import colorsys
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

import safelight
from safelight.config.network import DeepConvConfig
from safelight.config.reading import to_dict
from safelight.data.components import fit_components
from safelight.data.pictures import tile

PICTURE, COLUMNS = Path(__file__).parents[1] / "docs" / "shapes.png", 14
MEASURES = ("psnr", "pca_psnr", "mean_psnr", "loss", "kl", "active_units", "n")


def shapes(count: int = 5000, side: int = 32) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.float64]]]:
    """Discs, squares and triangles with soft edges, (N, side, side, 3), and what they were drawn by."""
    rng = np.random.default_rng(0)
    factors = {
        "across": rng.uniform(0.3, 0.7, count),
        "down": rng.uniform(0.3, 0.7, count),
        "size": rng.uniform(0.12, 0.25, count),
        "hue": rng.uniform(0, 0.7, count),  # from red to blue, so that it does not come around
        "background": rng.uniform(0, 0.6, count),
    }
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    pixels = np.empty((count, side, side, 3), np.uint8)
    for number, (across, down, size, hue, background) in enumerate(zip(*factors.values(), strict=True)):
        dx, dy = (x - across) / size, (y - down) / size
        distance = (
            np.hypot(dx, dy),
            np.maximum(abs(dx), abs(dy)) * 1.12,
            np.maximum(dy, 0.87 * abs(dx) - 0.5 * dy) * 1.5,
        )[number % 3]
        cover = 1 / (1 + np.exp((distance - 1) * size * side * 3))[..., None]
        colour = np.array(colorsys.hsv_to_rgb(hue, 0.9, 1))
        pixels[number] = np.rint(255 * (cover * colour + (1 - cover) * background))
    return pixels, factors


def told(run: safelight.Run, factors: dict[str, NDArray[np.float64]], images: Any) -> dict[str, float]:
    """R² of each factor on test images, by boosted trees on the codes of training images."""
    codes = {split: run.encode(run.images(split, images)) for split in ("train", "test")}
    rows = {split: np.array(run.images(split, images).names, int) for split in codes}
    found = {}
    for name, values in factors.items():
        trees = HistGradientBoostingRegressor(random_state=0).fit(codes["train"], values[rows["train"]])
        found[name] = round(float(trees.score(codes["test"], values[rows["test"]])), 3)
    return found


def draw(run: safelight.Run, images: Any) -> None:
    """Test images, what the run made of them, what PCA of as many dimensions did, and images that it drew."""
    x = run.images("test", images).floats(slice(COLUMNS))
    network = run.config.network
    assert isinstance(network, DeepConvConfig)
    components = fit_components(run.images("train", images), network.latent)
    rows = (x, run.reconstruct(x.numpy()), components.reconstruct(x), run.sample(COLUMNS, seed=0))
    tile(np.concatenate([np.asarray(row) for row in rows]), COLUMNS).save(PICTURE)


def measured(source: str) -> dict[str, Any]:
    """One set's cell."""
    images, factors = shapes() if source == "shapes" else (source, {})
    kept = images if factors else None  # what was handed over in Python is handed over again
    started = time.process_time()
    plans: list[Any] = []
    run = safelight.train(images, threads=1, on_start=plans.append)
    seconds = time.process_time() - started
    config = run.config
    if factors:
        draw(run, kept)
    return {
        "network": to_dict(config.network),
        "likelihood": to_dict(config.task)["likelihood"],
        "batch_size": config.training.batch_size,
        "lr": config.training.lr,
        "epochs": config.training.epochs,
        "steps": plans[0].steps,
        "processor_seconds": round(seconds, 1),
        "notes": list(config.notes),
        **{split: _numbers(run.evaluate(split, images=kept)) for split in ("validation", "test")},
        **({"r2": told(run, factors, kept)} if factors else {}),
    }


def _numbers(found: dict[str, Any]) -> dict[str, float]:
    return {name: round(found[name], 3) for name in MEASURES}


def main() -> None:
    """Measure the sets that the results lack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("sets", nargs="+")
    options = parser.parse_args()
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    for source in options.sets:
        name = Path(source).stem
        if name not in results:
            results[name] = measured(source)
            options.results.write_text(json.dumps(results, indent=1) + "\n")
        test = results[name]["test"]
        print(f"{name}: {test['psnr']:.2f} dB, PCA {test['pca_psnr']:.2f}", flush=True)


if __name__ == "__main__":
    main()
