"""A search's `report.html`: who won, how the population came there, and what mattered."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from PIL import Image

from safelight.config.search import ALGORITHMS, SIZES
from safelight.config.task import Measure
from safelight.data.pictures import make_folder
from safelight.errors import RunError
from safelight.evolution.charts import (
    family_chart,
    forecast_chart,
    gene_label,
    importance_chart,
    parallel_chart,
    pareto_chart,
    population_chart,
)
from safelight.evolution.folder import SearchFolder
from safelight.evolution.foresight import Foresight, relative_cost
from safelight.evolution.genome import Space
from safelight.evolution.ledger import Trial, trials_of
from safelight.evolution.ranking import first_front, order
from safelight.evolution.record import SearchRecord, make_space
from safelight.evolution.samplers import distribution_of
from safelight.networks.table import cost
from safelight.reporting.page import (
    Chart,
    duration,
    number,
    plain,
    shown,
    write_charts,
    write_page,
)
from safelight.tasks.table import make_task

__all__ = ["ancestors", "importances", "write_search_report"]

TOP = 10
MANY = 4  # trials, without which importances mean nothing


def write_search_report(folder: SearchFolder) -> Path:
    """Write a search's charts into `figures/`, and `report.html` which holds them all; also of one under way.

    Charts: population.png, parallel.png, importance.png, family.png and, with two objectives, pareto.png,
    each also as NAME-dark.png.

    Args:
        folder: a search with at least one successful trial.

    Returns:
        The path of report.html.

    Raises:
        RunError: no trial has succeeded yet, a file of the search is damaged, or one cannot be written.
    """
    record = folder.read_config()
    trials = trials_of(folder.study)
    ranked = _ranked(trials)
    if not ranked:
        raise RunError(
            f"expected at least one successful trial in {folder.path}, got none of {len(trials)}; "
            f"continue the search with safelight evolve --resume {folder.path}"
        )
    result, measure = folder.read_result(), make_task(record.base).measures[0]
    space = make_space(record)
    winner = _winner(result, ranked, trials)
    weights = importances(space, [trial for trial in trials if trial.schedule is None])
    family = ancestors(winner, trials)
    front = [ranked[i] for i in first_front([trial.rank_by for trial in ranked])]
    generations = _generations(record, trials)
    charts: dict[str, Chart] = {
        "population": lambda theme: population_chart(
            [[t.rank_by[0] for t in g] for g in generations],
            measure,
            theme,
            sorted({t.schedule for g in generations for t in g if t.schedule is not None}),
        ),
        "parallel": lambda theme: parallel_chart(space, ranked, theme),
    }
    if weights:
        charts["importance"] = lambda theme: importance_chart(weights, theme)
    if len(family) > 1:
        charts["family"] = lambda theme: family_chart(family, record.search.population, theme)
    foresight = _foresight(record, result, trials)
    foretold = [t for t in (*foresight.middle, *foresight.long) if t.fitness]
    if foretold:
        charts["forecast"] = lambda theme: forecast_chart(foretold, measure, theme)
    if len(record.search.objective) > 1:
        charts["pareto"] = lambda theme: pareto_chart(
            [_point(t) for t in ranked], [_point(t) for t in front], _size(record), measure, theme
        )
    make_folder(folder.figures)
    sources = write_charts(folder.figures, charts)
    data = record.base.data
    source = data.source and (Path(data.source).name or data.source)
    return write_page(
        folder.path / "report.html",
        "evolution/search.html.j2",
        name=folder.path.resolve().name,
        record=record,
        what=ALGORITHMS[record.search.algorithm],
        source=source,
        measure=measure,
        charts=sources,
        sizes={name: _page_size(folder.figures / f"{name}.png") for name in charts},
        tiles=_tiles(record, result, ranked, trials, measure, foresight),
        tested=_tested(folder),
        notes=[
            f"{len(f['failures'])} of {len(f['validation'])} trainings of finalist {f['trial']} failed: "
            f"{f['failures'][0]}."
            for f in result.get("finalists", [])
            if f.get("failures")
        ],
        status=_status(record, result, trials, folder.path),
        winner=winner,
        genes=[(gene_label(n), _range(space, n), plain(v)) for n, v in winner.values.items()],
        labels={name: gene_label(name) for name in space.genes},
        train=f"safelight train {shlex.quote(source or 'DATA')} --config {shown(folder.path)}/best.json "
        + ("" if record.search.for_epochs else "--epochs 30 ")
        + "--out runs/best",
        finalists=_finalists(result, trials),
        for_epochs=record.search.for_epochs,
        verdict=foresight.verdict(record),
        longer=[(t, relative_cost(record, t.values)) for t in (*foresight.middle, *foresight.long)],
        population=_population(record, generations),
        weights=sorted(weights.items(), key=lambda pair: -pair[1]),
        conditional=[gene_label(name) for name in space.genes if weights and name not in weights],
        family=family,
        front=sorted(front, key=_point),
        size=_size(record),
        top=ranked[:TOP],
        settings=_settings(record),
    )


def importances(space: Space, trials: Sequence[Trial]) -> dict[str, float]:
    """What share of the variance of the trials' ranks each gene explains by itself or with others.

    Functional analysis of variance over a forest (Hutter et al. 2014). Ranks, as a few diverged trials would
    otherwise explain everything; a failed trial has the worst. Only genes that every trial has are weighed.

    Args:
        space: the genes.
        trials: finished or not.

    Returns:
        Shares by gene that sum to 1; empty of fewer than 4 trials.

    Example:
        >>> from safelight.evolution.genome import Gene
        >>> space = Space({"training.lr": Gene("float", 0, 1), "training.gamma": Gene("float", 0, 1)})
        >>> values = [{"training.lr": i % 7 / 7, "training.gamma": i % 5 / 5} for i in range(35)]
        >>> trials = [
        ...     Trial(i, v, "immigrant", (), (v["training.lr"],), None, {}, 0, 0.0, (), True)
        ...     for i, v in enumerate(values)
        ... ]
        >>> importances(space, trials)["training.lr"] > 0.9
        True
    """
    done = [trial for trial in trials if trial.is_done]
    losses = sorted({trial.rank_by[0] for trial in done})
    if len(done) < MANY or len(losses) < 2:
        return {}
    study = optuna.create_study()
    for trial in done:
        study.add_trial(
            optuna.create_trial(
                params=dict(trial.values),
                distributions={name: distribution_of(space.genes[name]) for name in trial.values},
                value=float(losses.index(trial.rank_by[0])),
            )
        )
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {name: float(share) for name, share in shares.items()}


def ancestors(trial: Trial, trials: Sequence[Trial]) -> list[Trial]:
    """A trial and all that it descends from, each once, the trial itself first and then the youngest."""
    found = {trial.number}
    for other in sorted(trials, key=lambda t: -t.number):  # parents are older than their children
        if other.number in found:
            found |= set(other.parents)
    return sorted((t for t in trials if t.number in found), key=lambda t: -t.number)


def _page_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def _ranked(trials: Sequence[Trial]) -> list[Trial]:
    done = [trial for trial in trials if trial.fitness is not None]
    return [done[i] for i in order([(trial.rank_by[0],) for trial in done])]


def _point(trial: Trial) -> tuple[float, float]:
    return trial.rank_by[-1], trial.rank_by[0]


def _size(record: SearchRecord) -> str:
    return SIZES.get(record.search.objective[-1], "")


def _winner(result: dict[str, Any], ranked: Sequence[Trial], trials: Sequence[Trial]) -> Trial:
    numbers = [finalist["trial"] for finalist in result.get("finalists", [])]
    return next((t for t in trials if numbers and t.number == numbers[0]), ranked[0])


def _generations(record: SearchRecord, trials: Sequence[Trial]) -> list[list[Trial]]:
    """Those of short trials, then one of each longer schedule."""
    size = record.search.population
    done = [trial for trial in trials if trial.is_done]
    count = max(trial.number for trial in done if trial.schedule is None) // size + 1
    short = [[t for t in done if t.number // size == i and t.schedule is None] for i in range(count)]
    schedules = sorted({trial.schedule for trial in done if trial.schedule is not None})
    return [*short, *([t for t in done if t.schedule == schedule] for schedule in schedules)]


def _population(record: SearchRecord, generations: Sequence[Sequence[Trial]]) -> list[dict[str, Any]]:
    rows, best = [], math.inf
    for i, generation in enumerate(generations, 1):
        schedule = generation[0].schedule if generation else None
        losses = [t.rank_by[0] for t in generation if t.fitness is not None]
        best = min([best, *losses])
        quartiles = statistics.quantiles(losses, n=4) if len(losses) > 1 else None
        rows.append(
            {
                "generation": i if schedule is None else f"{schedule} epochs",
                "so_far": best if best < math.inf else None,
                "best": min(losses, default=None),
                "median": statistics.median(losses) if losses else None,
                "spread": quartiles[2] - quartiles[0] if quartiles else None,
                "failures": len(generation) - len(losses),
            }
        )
    return rows


def _finalists(result: dict[str, Any], trials: Sequence[Trial]) -> list[dict[str, Any]]:
    rows, forecasts = [], {t.number: t.forecast[0] for t in trials if t.forecast}
    for finalist in result.get("finalists", []):
        losses = [loss for loss in finalist["validation"] if loss is not None]
        mean = statistics.fmean(losses) if len(losses) == len(finalist["validation"]) else None
        rows.append({**finalist, "mean": mean, "forecast": forecasts.get(finalist["trial"])})
    return rows


def _tiles(
    record: SearchRecord,
    result: dict[str, Any],
    ranked: Sequence[Trial],
    trials: Sequence[Trial],
    measure: Measure,
    foresight: Foresight,
) -> list[tuple[str, str, str]]:
    validation = [loss for loss in result.get("validation", []) if loss is not None]
    epochs = record.search.for_epochs
    what = f"mean of {len(validation)} " + ("seeds" if epochs else "fresh seeds")
    what += f" after {epochs} epochs" if epochs else ""
    remark = ", ".join(filter(None, (what, measure.unit)))
    tiles = [
        (f"winner's {split} {measure.words}", number(statistics.fmean(losses), measure.digits), remark)
        for split, losses in (("test", result.get("test")), ("validation", validation))
        if losses
    ]
    best = ranked[0]
    if epochs:
        words = f"of {record.search.budget} epochs of the starting settings"
        tiles.append(("budget spent", number(foresight.spent, 1), words))
    else:
        remark = f"trial {best.number}, validation"
        tiles.append(("best of the search", number(best.rank_by[0], measure.digits), remark))
    done = [trial for trial in trials if trial.is_done]
    failed = len(done) - len(ranked)
    tiles.append(("trials", str(len(done)), f"{failed} of them failed"))
    tiles.append(("training time", duration(sum(t.seconds for t in trials)), "of one thread, all trials"))
    return tiles


def _foresight(record: SearchRecord, result: dict[str, Any], trials: Sequence[Trial]) -> Foresight:
    again = [f["trial"] for f in result.get("finalists", []) if len(f["validation"]) > 1]
    return Foresight.of(record, trials, again)


def _tested(folder: SearchFolder) -> str:
    """How often the test images were read: once, but of a search that went on after its end."""
    winners = {name.split("-")[1] for name in folder.read_tested()}
    return (
        "once" if len(winners) < 2 else f"as were {len(winners) - 1} that had won before the search went on"
    )


def _status(
    record: SearchRecord, result: dict[str, Any], trials: Sequence[Trial], path: Path
) -> dict[str, str] | None:
    lost = [trial for trial in trials if trial.failure and not trial.is_done]
    if result and not lost:
        return None
    planned = record.search.population * record.search.rounds
    done = sum(trial.is_done for trial in trials)
    what = (
        f"Only {done} of {planned} trials are finished"
        if done < planned
        else "Not all longer trainings are done"
        if record.search.for_epochs
        else "The finalists are not trained"
    )
    if lost:
        what += f", as for trial {lost[0].number} {lost[0].failure}"
    return {"words": f"{what}. To continue:", "command": f"safelight evolve --resume {shown(path)}"}


def _range(space: Space, name: str) -> str:
    gene = space.genes[name]
    if gene.kind == "categorical":
        return plain(gene.choices)
    return f"{gene.low:g} to {gene.high:g}" + (", on a log scale" if gene.kind.startswith("log") else "")


def _settings(record: SearchRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    search, data = record.search, record.base.data
    parameters, flops = cost(record.base.network, record.base.image)
    rows = [
        ("algorithm", search.algorithm),
        ("population", str(search.population)),
        ("generations", str(search.rounds)),
        ("epochs a trial", " then ".join(map(str, search.steps)) + ", at equal cost" * search.equal_cost),
        *(
            [("for epochs", str(search.for_epochs)), ("budget", str(search.budget))]
            if search.for_epochs
            else []
        ),
        ("objective", ", ".join(search.objective)),
        ("space", search.space),
        ("seed", str(search.seed)),
        ("training images", "all" if search.limit is None else f"the first {search.limit:,}"),
        (
            "validation images",
            "all" if search.limit_validation is None else f"the first {search.limit_validation:,}",
        ),
    ]
    return [
        ("Search", rows),
        (
            "Start",
            [
                ("network", str(record.base.network.name)),
                ("its parameters", f"{parameters:,}"),
                ("its FLOPs an image", f"{flops:,}"),
                ("task", record.base.task.name),
                ("SHA-256 of the images", data.fingerprint or "not stored"),
            ],
        ),
        ("Versions", list(record.versions.items())),
    ]
