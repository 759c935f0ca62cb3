"""Several runs side by side, in a table and in a chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safelight.errors import RunError
from safelight.files import legible, write_file
from safelight.reporting.charts import comparison_chart, render
from safelight.reporting.summary import Summary, summarize
from safelight.runs.folder import RunFolder

__all__ = ["compare", "draw_comparison"]


def compare(folders: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """One row a run, in the order given; numbers by the measure that chose the weights.

    Args:
        folders: at least two runs.

    Returns:
        Rows with the keys run, network, task, prior, parameters, data, epochs, measure, best_validation,
        last_validation, test, test_on, seconds and convention. A value that is not known is None. Numbers of
        different data, also of other validation images, or of a different convention cannot be compared;
        those of different priors can, as each bounds −log p(x) from above.

    Raises:
        RunError: there are fewer than two runs, or one cannot be read.
    """
    rows = []
    for name, run in _named(folders):
        best, name_of_measure = run.best, run.judge.name
        rows.append(
            {
                "run": name,
                "network": run.config.network.name,
                "task": run.config.task.name,
                "prior": run.prior,
                "parameters": run.parameters,
                "data": run.source,
                "epochs": len(run.epochs),
                "measure": run.judge.words,
                "best_validation": best.validation[name_of_measure] if best else None,
                "last_validation": run.epochs[-1].validation.get(name_of_measure),
                "test": run.evaluation.get("test", {}).get(name_of_measure),
                "test_on": ", ".join(run.conditions("test")) or None,
                "seconds": run.seconds,
                "convention": run.convention,
            }
        )
    return rows


def draw_comparison(folders: Sequence[RunFolder], path: Path) -> None:
    """Draw the validation measures of runs as a PNG file, one panel for each set of comparable runs.

    Args:
        folders: at least two runs.
        path: the file to write.

    Raises:
        RunError: there are fewer than two runs, one cannot be read, or the file cannot be written.
    """
    groups: dict[tuple[str, str | None, int], list[tuple[str, Summary]]] = {}
    for name, run in _named(folders):
        height, width = run.config.image.height, run.config.image.width
        title = f"{run.source or 'images given in Python'}, {height}×{width}: {run.convention}"
        data = run.config.data  # other validation images are another measurement; where there are none, none
        groups.setdefault((title, data.fingerprint, data.validation or 0), []).append((name, run))
    write_file(path, render(comparison_chart([(title, runs) for (title, *_), runs in groups.items()])))


def _named(folders: Sequence[RunFolder]) -> list[tuple[str, Summary]]:
    """The runs under the names of their folders, or their paths where two have the same name."""
    if len(folders) < 2:
        raise RunError(f"expected at least two runs to compare, got {len(folders)}; name another run folder")
    runs = [summarize(folder) for folder in folders]
    counts = Counter(run.name for run in runs)
    return [
        (run.name if counts[run.name] == 1 else legible(str(folder.path)), run)
        for folder, run in zip(folders, runs, strict=True)
    ]
