"""How quickly and in how much memory folders of pictures are read: `python benchmarks/pictures.py`.

Made anew in a temporary folder, each part in a process of its own, with a cache of its own:

- 20,000 coloured PNG files of 64 to 128 pixels a side: files a second the first time, as a ratio to Pillow's
  bare decoding of as many by one thread, and seconds until a training begins, the first and the second time;
- a million names in a thousand folders: seconds until they are listed;
- 20,000 and 200,000 files: anonymous memory (`RssAnon`) at most while they are read and a network is trained
  on each once, which should not grow with their number.

Files are hard links to a few thousand different ones, as only reading them is measured.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import save
from PIL import Image

DIFFERENT = 2000
START = """
import sys, time
started = time.perf_counter()
import safelight
def told(plan):
    print(time.perf_counter() - started)
    raise SystemExit
safelight.train(sys.argv[1], epochs=1, on_start=told)
"""
MEMORY = """
import sys, threading, time
import safelight
most, over = 0, threading.Event()
def watch():
    global most
    while not over.wait(0.05):
        with open("/proc/self/status") as status:
            most = max(most, next(int(line.split()[1]) for line in status if line.startswith("RssAnon")))
watcher = threading.Thread(target=watch)
watcher.start()
try:
    safelight.train(sys.argv[1], epochs=1, size=16, channels=(4,), latent=4, prior="normal", validation=500)
finally:
    over.set()
    watcher.join()
print(most / 1024)
"""
LIST = """
import sys, time
from pathlib import Path
from safelight.data.listing import list_folder
started = time.perf_counter()
count = len(list_folder(Path(sys.argv[1]), [".png"]))
print((time.perf_counter() - started) / count * 1e6)
"""


def draw(folder: Path, least: int, most: int) -> list[Path]:
    """Different pictures of textures with an edge: as large as files of photographs' size are."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(DIFFERENT):
        height, width = rng.integers(least, most + 1, 2)
        y, x = np.mgrid[:height, :width] / most
        waves = np.sin(rng.uniform(5, 60) * (x * rng.random() + y) + rng.uniform(0, 6, 3)[:, None, None])
        pixels = 127 + 80 * waves + rng.normal(0, 4, (3, height, width)) + 40 * (x > rng.random())
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)).save(
            folder / f"{number}.png", compress_level=1
        )
    return sorted(folder.iterdir())


def linked(files: list[Path], folder: Path, count: int, folders: int = 10) -> Path:
    """So many names of the files, in several folders."""
    for number in range(folders):
        (folder / f"{number:04}").mkdir(parents=True)
    for number in range(count):
        os.link(files[number % len(files)], folder / f"{number % folders:04}" / f"{number}.png")
    return folder


def said(code: str, *arguments: str | Path, cache: Path) -> float:
    """The number that a process of its own prints last."""
    environment = os.environ | {"SAFELIGHT_DATA": str(cache)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout.split()[-1])


def decoded(files: list[Path]) -> float:
    """Seconds a file that Pillow takes for nothing but the pixels."""
    started = time.perf_counter()
    for file in files:
        with Image.open(file) as picture:
            picture.load()
    return (time.perf_counter() - started) / len(files)


def main() -> None:
    """Measure, and write each figure when it is there."""
    results: dict[str, float] = {}

    def note(name: str, value: float) -> None:
        results[name] = round(value, 3)
        print(f"{name}: {value:,.3f}", flush=True)
        save("pictures", {"measured": results})

    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        large, small = draw(place / "large", 64, 128), draw(place / "small", 16, 24)
        folder, cache = linked(large, place / "20000", 20_000), place / "cache"
        few = linked(large, place / "few", 20, 2)
        said(START, few, cache=place / "warm")  # imports come from the disk's cache in each that counts
        bare = decoded(large)
        first, second = (said(START, folder, cache=cache) for _ in range(2))
        note("files a second, first start, imports included", 20_000 / first)
        note("files a second over those of Pillow on one thread", 20_000 / first * bare)
        note("seconds until training begins, second start", second)
        for count in (20_000, 200_000):
            folder = linked(small, place / f"small{count}", count)
            note(f"megabytes of anonymous memory, {count:,} files", said(MEMORY, folder, cache=cache))
        folder = linked(small, place / "million", 1_000_000, 1000)
        note("seconds a million names", said(LIST, folder, cache=cache))


if __name__ == "__main__":
    main()
