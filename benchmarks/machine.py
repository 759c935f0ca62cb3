"""What a result needs beside its figures: date, hardware, versions, command; and where it goes."""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy
import torch

import safelight

RESULTS = Path(__file__).parent / "results"


def describe() -> dict[str, Any]:
    """The circumstances of a measurement."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": " ".join(["python", *map(told, sys.argv)]),
        "processor": processor(),
        "cores": os.cpu_count(),
        "versions": {
            "safelight": safelight.__version__,
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
    }


def told(argument: str) -> str:
    """An argument as others can use it: of an absolute path, which says nothing to them, the name."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def processor() -> str:
    """The processor's name, with the instruction sets that matter here."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    lines = [line.split(":", 1) for line in info.read_text().splitlines() if ":" in line]
    fields = {name.strip(): value.strip() for name, value in lines}
    flags = fields.get("flags", "").split()
    wide = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags]
    return f"{fields.get('model name', platform.machine())} ({', '.join(wide)})"


def save(name: str, result: dict[str, Any]) -> Path:
    """Write a result as benchmarks/results/NAME-DATE.json."""
    RESULTS.mkdir(exist_ok=True)
    about = describe()
    path = RESULTS / f"{name}-{about['date']}.json"
    path.write_text(json.dumps(about | result, indent=2) + "\n")
    return path
