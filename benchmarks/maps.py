"""Maps and codes at scale: t-SNE beside scikit-learn's, the pace and memory of embedding, samples judged.

Each part is paired in one run, on one thread. Seconds of the processor are given too, as other processes
disturb them less than those of the clock.

    export OMP_NUM_THREADS=1
    python benchmarks/maps.py tsne runs/first --n 20000
    python benchmarks/maps.py embed runs/first
    python benchmarks/maps.py samples runs/first --judge runs/judge
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import save

import safelight
from safelight.config.latent import MapConfig
from safelight.latent.codes import some_images
from safelight.latent.judging import judge_samples
from safelight.latent.maps import project
from safelight.latent.measures import map_quality
from safelight.latent.parquet import embed
from safelight.tasks.objective import Bernoulli

MNIST = 60_000


def timed(action: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """A result, and the seconds of the processor and of the clock that it took."""
    processor, clock = time.process_time(), time.perf_counter()
    result = action()
    return result, {
        "processor_seconds": round(time.process_time() - processor, 1),
        "clock_seconds": round(time.perf_counter() - clock, 1),
    }


def tsne(run: safelight.Run, chosen: argparse.Namespace) -> dict[str, Any]:
    """Ours and scikit-learn's of the same codes: neighbours, optimization, and nothing else."""
    from sklearn.manifold import TSNE

    train, test = safelight.load("mnist"), safelight.load("mnist", split="test")
    pixels = np.concatenate([train.pixels, test.pixels])
    codes = run.codes(some_images(safelight.ImageSet(pixels), chosen.n))
    result: dict[str, Any] = {"n": len(codes), "threads": torch.get_num_threads()}
    found, seconds = timed(lambda: project(codes, MapConfig("tsne", n=len(codes))))
    assert found.quality is not None
    result["safelight"] = seconds | found.quality._asdict()
    print(result, flush=True)
    if not chosen.alone:
        theirs = TSNE(perplexity=30, init="pca", random_state=0, n_jobs=1)
        points, seconds = timed(lambda: theirs.fit_transform(codes.mu))
        quality = map_quality(codes.mu, points)
        assert quality is not None
        result["scikit-learn"] = seconds | quality._asdict()
        ratios = (result["scikit-learn"][k] / result["safelight"][k] for k in seconds)
        result["times_faster"] = dict(zip(seconds, (round(ratio, 2) for ratio in ratios), strict=True))
    return result


def embedding(run: safelight.Run, chosen: argparse.Namespace) -> dict[str, Any]:
    """60,000 and 600,000 images, each in a process of its own."""
    result: dict[str, Any] = {"threads": torch.get_num_threads(), "images": {}}
    for times in (1, 10):
        command = [sys.executable, __file__, "embed", str(run.path), "--times", str(times)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        count, processor, clock, before, peak = map(float, answer.split())
        result["images"][int(count)] = {
            "images_per_processor_second": round(count / processor),
            "images_per_clock_second": round(count / clock),
            "megabytes_before": round(before),
            "megabytes_at_most": round(peak),
        }
        print(result, flush=True)
    return result


def embed_repeated(run: safelight.Run, times: int) -> None:
    """MNIST over and over into one file; prints images, seconds, and memory before and at most."""
    images = safelight.load("mnist")
    network: Any = run.network
    megabyte = 1 << 10  # ru_maxrss is in kilobytes on Linux
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "codes.parquet"
        embed(network, Bernoulli(), images.subset(slice(8192)), path)  # what any number of images needs
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / megabyte
        count, seconds = timed(lambda: embed(network, Bernoulli(), (images for _ in range(times)), path))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / megabyte
    print(count, *seconds.values(), before, peak)


def samples(run: safelight.Run, chosen: argparse.Namespace) -> dict[str, Any]:
    """Samples of each method against as many training images; validation images show what can be reached."""
    judge = safelight.Run(chosen.judge).network
    real = some_images(run.images("train"), chosen.n).floats().numpy()
    result: dict[str, Any] = {"n": len(real), "judge": type(judge).__name__}
    for name, images in (
        ("validation images", lambda: run.images("validation").floats().numpy()),
        ("prior", lambda: run.sample(chosen.n, "prior")),
        ("mixture", lambda: run.sample(chosen.n, "mixture")),
    ):
        result[name] = judge_samples(judge, [real], [images()])
        print(name, result[name], flush=True)
    return result


PARTS = {"tsne": tsne, "embed": embedding, "samples": samples}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("run", type=Path, help="folder of a run on MNIST")
    parser.add_argument("--n", type=int, default=20_000, help="number of codes, or of samples")
    parser.add_argument("--alone", action="store_true", help="of t-SNE, leave out scikit-learn's")
    parser.add_argument("--judge", type=Path, help="folder of a classifier's run")
    parser.add_argument("--times", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_flush_denormal(True)
    run = safelight.Run(chosen.run)
    if chosen.times:
        embed_repeated(run, chosen.times)
        return
    result = PARTS[chosen.part](run, chosen)
    name = f"maps-{chosen.part}" + (f"-{chosen.n}" if chosen.part == "tsne" else "")
    print(f"Result: {save(name, result)}")


if __name__ == "__main__":
    main()
