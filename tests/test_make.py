"""What `make` does beside calling the command."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAKEFILE = ROOT / "Makefile"


def test_a_page_without_npm_says_so_in_one_line_at_once(tmp_path):
    (tmp_path / "package-lock.json").touch()
    bare = {"PATH": str(tmp_path / "bin")}
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to(shutil.which("sh"))
    make = [shutil.which("make"), "--no-print-directory", "-f", MAKEFILE, "page"]
    done = subprocess.run(make, cwd=tmp_path, env=bare, capture_output=True, text=True)
    assert done.returncode == 2
    own, make_own = done.stderr.strip().split("\n")
    assert own.startswith(
        "make page: expected npm, which fetches the page's engine, got none; install Node.js"
    )
    assert make_own.endswith("Error 2")
    assert not (tmp_path / "src").exists()


def test_a_demo_that_is_there_is_never_replaced(tmp_path):
    """With a command that notes what it was asked; the first demo makes its run."""
    bin = tmp_path / ".venv" / "bin"
    bin.mkdir(parents=True)
    for name in ("requirements.lock", "pyproject.toml", ".venv/.made"):
        (tmp_path / name).touch()
    trains = '[ "$1" = train ] && mkdir -p runs/demo && touch runs/demo/config.json'
    (bin / "safelight").write_text(f'#!/bin/sh\necho "$@" >> said\n{trains}\nexit 0\n')
    (bin / "safelight").chmod(0o755)
    make = ["make", "-f", MAKEFILE, "demo"]
    for _ in range(2):
        subprocess.run(make, cwd=tmp_path, capture_output=True, check=True)
    trained = [line for line in (tmp_path / "said").read_text().split("\n") if line.startswith("train")]
    assert trained == ["train mnist --out runs/demo", "train --resume runs/demo"]


def test_the_wheel_has_the_engine_inside(tmp_path):
    """Though git ignores what `make page` fetches."""
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "engine"))
    engine = tmp_path / "src" / "safelight" / "explorer" / "page" / "engine"
    engine.mkdir()
    names = {"ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"}
    for name in (*names, ".made"):
        (engine / name).touch()
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    subprocess.run(build, cwd=tmp_path, capture_output=True, check=True)
    (wheel,) = (tmp_path / "dist").iterdir()
    inside = [path for path in map(Path, zipfile.ZipFile(wheel).namelist()) if path.parent.name == "engine"]
    assert {path.name for path in inside} == names
