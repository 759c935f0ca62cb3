"""Peak memory of every verb on colour images of 128×128, each in a process of its own, at two sizes of a set.

What a verb needs should grow with the set by the images themselves, and by little else.

    export OMP_NUM_THREADS=1
    python benchmarks/memory.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import save

SIDE = 128
SIZES = (300, 1200)
FAST = ["--epochs", "1", "--threads", "1"]
SMALL = ["--model", "classifier", "--network.channels", "8,16,16", "--batch-size", "32"]
UNET = ["--model", "denoising-unet", "--network.channels", "8,16", "--batch-size", "16", "--limit", "64"]
VERBS = {  # in an order in which each finds what it needs
    "train": "train images.npz --out vae",
    "train denoiser": "train images.npz --task denoise --out unet",
    "train classifier": "train images.npz --task classify --network.classes 2 --out judge",
    "evaluate": "evaluate vae --split train --samples 2",
    "evaluate denoiser": "evaluate unet --split validation --judge judge",
    "evaluate classifier": "evaluate judge --split train",
    "report": "report vae",
    "denoise": "denoise unet pixels.npy --out clean.npy",
    "finetune": "finetune vae images.npz --labels-per-class 20 --batch-size 32 --out tuned",
    "classify": "classify tuned images.npz --out found.csv",
    "suggest": "suggest vae images.npz -n 20 --out next.csv",
    "embed": "embed vae images.npz --out codes.parquet",
    "project": "project vae images.npz --out map.png",
    "sample": "sample vae -n 64 --out samples.png",
    "sample mixture": "sample vae -n 64 --method mixture --out mixture.png",
    "walk": "walk vae 0 1 --steps 12 --out walk.png",
    "traverse": "traverse vae images.npz --out traverse.png",
    "export": "export vae --onnx onnx",
    "page": "export vae --single-file page.html",
}
MORE = {
    "train": FAST,
    "train denoiser": [*FAST, *UNET],
    "train classifier": [*FAST, *SMALL],
    "finetune": FAST,
}
CODE = """
import resource, sys
from safelight.command.main import main
code = main()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)  # kilobytes on Linux
sys.exit(code)
"""


def write_images(folder: Path, count: int) -> float:
    """Coloured waves in two classes, as an array with labels and without; their size in megabytes."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    labels = np.arange(count) % 2
    pixels = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for i, label in enumerate(labels):
        phases, waves = 6 * rng.random(3), 4 + 8 * label + 4 * rng.random()
        pixels[i] = 127 + 120 * np.sin(waves * (x + y * rng.random())[..., None] + phases)
    np.savez(folder / "images.npz", images=pixels, labels=labels)
    np.save(folder / "pixels.npy", pixels)
    return pixels.nbytes / 2**20


def peak(verb: str, folder: Path) -> tuple[int, float]:
    """Megabytes that a verb had at most, and its seconds."""
    arguments = [*VERBS[verb].split(), *MORE.get(verb, [])]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{verb}: {done.stderr}")
    return int(done.stdout.split()[-1]), time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES, help="images of each set")
    parser.add_argument("--verbs", nargs="*", choices=VERBS, default=list(VERBS), help="default: all of them")
    parser.add_argument("--folder", type=Path, help="where to work, and to find what an earlier run made")
    chosen = parser.parse_args()
    result: dict[str, Any] = {"images": f"{SIDE}×{SIDE}×3", "sizes": chosen.sizes, "megabytes": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folders = [(chosen.folder or Path(temporary)) / str(size) for size in chosen.sizes]
        for folder, size in zip(folders, chosen.sizes, strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            result.setdefault("megabytes_of_images", []).append(round(write_images(folder, size)))
        for verb in chosen.verbs:
            found = [peak(verb, folder) for folder in folders]
            result["megabytes"][verb] = [megabytes for megabytes, _ in found]
            print(f"{verb:20}", *(f"{m:6d} MB {s:5.1f} s" for m, s in found), flush=True)
    if chosen.verbs == list(VERBS):
        print(f"Result: {save('memory', result)}")


if __name__ == "__main__":
    main()
