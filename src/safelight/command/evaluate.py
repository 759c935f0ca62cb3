"""`safelight evaluate`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape
from rich.table import Table

from safelight.command.console import advise, out, storing
from safelight.command.options import add_fields, is_given, option
from safelight.command.verb import Idle, Verb
from safelight.config.reading import fields_of
from safelight.config.task import TASK_CONFIGS, AutoencodeConfig, DenoiseConfig

if TYPE_CHECKING:
    from safelight.run import Run

__all__ = ["VERB"]

PROBES = (
    ("linear", "logistic regression", " %", "accuracy; learned from all training labels"),
    ("neighbours", "nearest neighbours", " %", "accuracy of the vote of 5 training images"),
    ("clusters", "k-means", " %", "accuracy of as many clusters as classes, each given another class"),
    ("mutual_information", "k-means, information", "", "that clusters and classes share, normalized: 0 to 1"),
)


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("run", type=str, help="run folder")
    parser.add_argument(
        "--split",
        choices=("test", "validation", "train"),
        default="test",
        help="which images to measure on (default: test)",
    )
    parser.add_argument(
        "--probe",
        action="store_true",
        help="how well simple classifiers tell the test images' classes from codes, and clusters of codes do",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    for name, config in TASK_CONFIGS.items():
        if fields_of(config.evaluation):
            group = parser.add_argument_group(f"Of a run whose task is to {name}")
            add_fields(group, config.evaluation(), given_only=True)


def _run(options: Namespace, arguments: list[str]) -> None:
    from safelight.run import Run

    given = {name: options[name] for name in _evaluation_names() if is_given(options[name])}
    run = Run(options.run)
    if options.probe:
        _probe(options, run)
        return
    measures, pictures = run.measure(options.split, **given)
    with storing(lambda: run.folder.add_evaluation(options.split, measures, pictures)):
        if options.json:
            print(json.dumps(measures, indent=2))
        else:
            out.print(_table(options, run, measures))
    if not options.json:
        advise(run)


def _table(options: Namespace, run: Run, measures: dict[str, Any]) -> Table:
    from safelight.reporting.summary import condition, counted

    table = Table(title=f"{escape(options.run)}, {options.split} split, {counted(measures)} images")
    for heading in ("measure", "value", "unit", "convention"):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    for measure in run.task.measures:
        value: Any = measures.get(measure.name)
        if value is not None:
            table.add_row(measure.words, f"{value:.{measure.digits}f}", measure.unit, measure.meaning)
    for name, value in measures.items():
        if isinstance(value, str) and name != "split":  # such as what the images were corrupted with
            table.add_row(name.replace("_", " "), escape(value), "", condition(name))
    return table


def _probe(options: Namespace, run: Run) -> None:
    from safelight.labels.probes import probe_network

    judged = probe_network(run.network, run.images("train"), run.images("test"))
    with storing(lambda: run.folder.add_evaluation("test", {"probe": judged, "weights": run.weights})):
        if options.json:
            print(json.dumps(judged, indent=2))
        else:
            out.print(_probe_table(options, judged))


def _probe_table(options: Namespace, judged: dict[str, Any]) -> Table:
    from safelight.reporting.summary import counted

    of = f"classes of {counted(judged)} test images"
    table = Table(title=f"{escape(options.run)}, what its codes tell of the {of}")
    for heading in ("probe", "value", "meaning"):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    for name, words, unit, meaning in PROBES:
        table.add_row(words, f"{judged[name]:.2f}{unit}", meaning)
    return table


def _idle(options: Namespace, arguments: list[str]) -> Idle:
    from safelight.runs.folder import RunFolder

    config = RunFolder(options.run).read_config()
    own, task = fields_of(config.task.evaluation), config.task
    why = {name: f"a run to {task.name} has none" for name in _evaluation_names() if name not in own}
    if isinstance(task, AutoencodeConfig) and not config.network.is_variational:
        why["samples"] = "the run's codes are points"
    if isinstance(task, DenoiseConfig) and task.self_supervised:
        why |= dict.fromkeys(own, "the run's images are noisy themselves, and their truth is not known")
    if options.probe:
        of_probe = "--probe learns from codes of training images and is judged on those of test images"
        why = dict.fromkeys(("split", *_evaluation_names()), of_probe)
    return {option(name): words for name, words in why.items()}


def _evaluation_names() -> list[str]:
    return sorted({name for config in TASK_CONFIGS.values() for name in fields_of(config.evaluation)})


VERB = Verb(
    "evaluate",
    "measure a run on the test images",
    "Measure a run on one split of its data.",
    ("safelight evaluate runs/first --json", "safelight evaluate runs/first --probe"),
    _add_options,
    _run,
    _idle,
)
