"""The command line's options: which there are, what they start from, and how they are read.

`train`'s options are the fields of the config dataclasses, so that a new field is a new option with its help
and its default. What they start from may itself be given, by --config or --resume.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import docstring_parser
from jsonargparse import ArgumentError, ArgumentParser, Namespace

import safelight
from safelight.config.data import DataConfig
from safelight.config.network import (
    CUSTOM_NETWORK,
    NETWORK_CONFIGS,
    DeepConvConfig,
    NetworkConfig,
    NetworkSpec,
)
from safelight.config.reading import did_you_mean, from_dict
from safelight.config.run import FORMAT_VERSION, LIKELIHOODS, RunConfig
from safelight.config.search import SearchConfig
from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError

__all__ = ["Start", "build_parser", "parse", "refuse_changes"]


@dataclass
class Start:
    """What the options of `train` and `evolve` start from: defaults, a --config file, or what to --resume."""

    model: str = "deep-conv-vae"
    network: NetworkConfig = field(default_factory=DeepConvConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    likelihood: str = "bernoulli"
    search: SearchConfig = field(default_factory=SearchConfig)

    @classmethod
    def read(cls, verb: str, arguments: list[str]) -> Start:
        """Look ahead for the options that decide which other options there are, and their defaults."""
        ahead = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        for name in ("--model", "--config", "--resume"):
            ahead.add_argument(name)
        try:
            found, _ = ahead.parse_known_args(arguments)
        except argparse.ArgumentError as error:
            raise ConfigError(str(error)) from None
        start = cls()
        if found.resume and verb == "evolve":
            from safelight.evolution.search import SearchFolder

            record = SearchFolder(found.resume).read_config()
            start = cls._from_values(dataclasses.asdict(record.base), f"{found.resume}/config.json")
            start.search = record.search
        elif found.resume:
            from safelight.runs.folder import RunFolder

            config = RunFolder(found.resume).read_config()
            start = cls._from_values(dataclasses.asdict(config), f"{found.resume}/config.json")
        elif found.config:
            start = cls._from_values(_read_json(found.config), found.config)
        if found.model and found.model != start.model:
            if found.model not in NETWORK_CONFIGS:
                raise ConfigError(
                    f"unknown model {found.model!r}; {did_you_mean(found.model, NETWORK_CONFIGS)}"
                )
            start.model, start.network = found.model, NETWORK_CONFIGS[found.model]()
        return start

    @classmethod
    def _from_values(cls, values: dict[str, Any], where: str) -> Start:
        known = [f.name for f in dataclasses.fields(RunConfig)]
        for key in values:
            if key not in known:
                raise ConfigError(f"{where}: unknown key {key!r}; {did_you_mean(key, known)}")
        if values.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
            version = values["format_version"]
            raise ConfigError(
                f"{where}: expected format_version {FORMAT_VERSION}, got {version!r}; drop that key"
            )
        network = from_dict(
            NetworkSpec, values.get("network", {"name": "deep-conv-vae"}), f"{where}: network"
        )
        if network.name == CUSTOM_NETWORK:
            raise ConfigError(
                f"{where}: the run holds a network of your own, {network.own_class!r}; from Python, use "
                "safelight.train or safelight.resume with it"
            )
        if network.name not in NETWORK_CONFIGS:
            raise ConfigError(
                f"{where}: unknown network {network.name!r}; {did_you_mean(network.name, NETWORK_CONFIGS)}"
            )
        if values.get("kind", "autoencoder") != "autoencoder":
            raise ConfigError(f"{where}: kind: expected autoencoder, got {values['kind']!r}")
        likelihood = values.get("likelihood", "bernoulli")
        if likelihood not in LIKELIHOODS:
            raise ConfigError(
                f"{where}: likelihood: expected one of {', '.join(LIKELIHOODS)}, got {likelihood!r}"
            )
        return cls(
            model=network.name,
            network=from_dict(NETWORK_CONFIGS[network.name], network.fields, f"{where}: network.fields"),
            training=from_dict(TrainingConfig, values.get("training", {}), f"{where}: training"),
            data=from_dict(DataConfig, values.get("data", {}), f"{where}: data"),
            likelihood=likelihood,
        )


def build_parser(start: Start | None = None) -> ArgumentParser:
    """The whole command line; `train` and `evolve` show the settings they would start from."""
    start = start or Start()
    parser = _parser("Learn from images that nobody labelled: train autoencoders, measure and show them.")
    parser.prog = "safelight"
    parser.add_argument("--version", action="version", version=f"safelight {safelight.__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    verbs = parser.add_subcommands(dest="verb", required=True)
    verbs.add_subcommand("train", _train_parser(start), help="train an autoencoder on images")

    verbs.add_subcommand("evolve", _evolve_parser(start), help="search for settings or a structure")

    evaluate = _parser(
        "Measure a run on one split of its data, in nats per image.", "safelight evaluate runs/first --json"
    )
    evaluate.add_argument("run", type=str, help="run folder")
    evaluate.add_argument(
        "--split",
        choices=("test", "validation", "train"),
        default="test",
        help="which images to measure on (default: test)",
    )
    evaluate.add_argument(
        "--samples",
        type=_count,
        default=50,
        help="samples of z of the importance-weighted bound; 0 leaves it out (default: 50)",
    )
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    verbs.add_subcommand("evaluate", evaluate, help="measure a run on the test images")

    report = _parser("Draw a run's figures and write its report.html.", "safelight report runs/first")
    report.add_argument("run", type=str, help="run folder")
    verbs.add_subcommand("report", report, help="draw a run's figures and its report")

    compare = _parser("Print and draw runs side by side.", "safelight compare runs/first runs/second")
    compare.add_argument("runs", type=str, nargs="+", help="run folders")
    compare.add_argument(
        "--out", type=str, default="compare.png", help="where the picture goes (default: compare.png)"
    )
    compare.add_argument("--json", action="store_true", help="print JSON")
    verbs.add_subcommand("compare", compare, help="print and draw runs side by side")

    data = _parser("The named sets of images.", "safelight data fetch mnist")
    verbs.add_subcommand("data", data, help="list or fetch named sets of images")
    actions = data.add_subcommands(dest="action", required=True)
    actions.add_subcommand(
        "list", _parser("List the named sets.", "safelight data list"), help="list the named sets"
    )
    fetch = _parser("Fetch a named set into the cache.", "safelight data fetch mnist")
    fetch.add_argument("name", type=str, help="name of the set")
    actions.add_subcommand("fetch", fetch, help="fetch a named set into the cache")
    return parser


def _train_parser(start: Start) -> ArgumentParser:
    parser = _parser(
        "Train an autoencoder. --model decides which --network options there are.",
        "safelight train mnist --out runs/first",
        "safelight train photos/ --model deep-conv-ae --network.latent 32 --epochs 50 --out runs/photos",
        "safelight train --resume runs/first --epochs 20",
    )
    run = parser.add_argument_group("The run")
    run.add_argument(
        "data", type=str, nargs="?", default=start.data.source, help="named set, file or folder of images"
    )
    run.add_argument("--out", type=str, help="run folder to make")
    run.add_argument("--overwrite", action="store_true", help="replace a run that is in --out")
    run.add_argument("--resume", type=str, metavar="RUN", help="continue this run, also with more --epochs")
    run.add_argument("--init-from", type=str, metavar="RUN", help="start from this run's weights")
    run.add_argument(
        "--config",
        type=str,
        metavar="FILE",
        help="start from these settings: a run's config.json, or part of one",
    )
    data = parser.add_argument_group("The images")
    data.add_argument("--limit", type=int, default=start.data.limit, help="train on only this many images")
    data.add_argument(
        "--validation",
        type=int,
        default=start.data.validation,
        help="number of validation images; 0 trains on all but the test images "
        "(default: a sixth of a named set, else a tenth)",
    )
    model = parser.add_argument_group("The network")
    _add_model(model, start)
    _add_fields(model, start.network, "network.")
    _add_fields(parser.add_argument_group("The training"), start.training)
    return parser


def _evolve_parser(start: Start) -> ArgumentParser:
    parser = _parser(
        "Search for the settings or the structure of an autoencoder by training many of them, on one thread "
        "each. Trials are judged on validation images; only the winner is measured on the test images.",
        "safelight evolve mnist --model conv-vae --population 30 --generations 12 --out runs/evo",
        "safelight evolve mnist --space structure --workers 2 --out runs/evo2",
        "safelight evolve --resume runs/evo --generations 20",
        "safelight train mnist --config runs/evo/best.json --epochs 30 --out runs/best",
    )
    run = parser.add_argument_group("The search")
    run.add_argument(
        "data", type=str, nargs="?", default=start.data.source, help="named set, file or folder of images"
    )
    run.add_argument("--out", type=str, help="folder to make")
    run.add_argument("--overwrite", action="store_true", help="replace a search that is in --out")
    run.add_argument(
        "--resume", type=str, metavar="SEARCH", help="continue this search, also with more --generations"
    )
    run.add_argument(
        "--config",
        type=str,
        metavar="FILE",
        help="settings of every trial where no gene decides: a run's config.json, or part of one",
    )
    _add_model(run, start)
    _add_fields(run, start.search)
    where = parser.add_argument_group("Where trials run")
    where.add_argument("--workers", type=int, help="trials at a time; by default one a core")
    where.add_argument(
        "--engine",
        choices=("local", "dask", "ray"),
        default="local",
        help="processes of this machine, or a cluster; both clusters trust their network (default: local)",
    )
    where.add_argument(
        "--address",
        type=str,
        help="of the cluster, such as tcp://host:8786; without it, workers are started on this machine",
    )
    return parser


def _add_model(group: Any, start: Start) -> None:
    group.add_argument(
        "--model",
        choices=tuple(NETWORK_CONFIGS),
        default=start.model,
        help=f"kind of network (default: {start.model})",
    )
    group.add_argument(
        "--likelihood",
        choices=LIKELIHOODS,
        default=start.likelihood,
        help=f"what the decoder's output means (default: {start.likelihood})",
    )


def _parser(description: str, *examples: str) -> ArgumentParser:
    epilog = "example:\n" + "\n".join(f"  {example}" for example in examples) if examples else None
    return ArgumentParser(
        description=description,
        epilog=epilog,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_fields(group: Any, config: Any, prefix: str = "") -> None:
    """An option for each field of a config dataclass, its help taken from the docstring."""
    described = {p.arg_name: p.description for p in docstring_parser.parse(type(config).__doc__ or "").params}
    for name, hint in get_type_hints(type(config)).items():
        default = getattr(config, name)
        kind: dict[str, Any] = {"type": hint, "metavar": name.upper()}
        if get_origin(hint) is Literal:
            kind = {"choices": get_args(hint)}
        elif hint == tuple[int, ...]:
            kind = {"type": _numbers, "metavar": "N,N,..."}
        elif hint == tuple[str, ...]:
            kind = {"type": _words, "metavar": "NAME,..."}
        elif hint is bool:
            kind = {"action": "store_true"}
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        suffix = "" if default in (None, (), False) else f" (default: {shown})"
        option = f"--{prefix}{name.replace('_', '-')}"
        group.add_argument(option, default=default, help=f"{described[name]}{suffix}", **kind)


def _numbers(value: str | tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(value, tuple):
        return value
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers such as 32,64, got {value}") from None


def _words(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else tuple(value.split(","))


def _count(value: str | int) -> int:
    try:
        if int(value) >= 0:
            return int(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more, got {value}")


def parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """Read the command line; without any, show the help.

    Raises:
        ConfigError: an option or a value that does not fit, with the nearest that does.
    """
    if not arguments:
        parser.print_help()
        raise SystemExit(2)
    try:
        return parser.parse_args(arguments)
    except ArgumentError as error:
        message = _one_line(error)[:300]
        verbs = next(a.choices for a in parser._actions if isinstance(a.choices, dict))
        chosen = verbs.get(arguments[0], parser)
        unknown = re.search(r"unrecognized arguments: (--[^\s=]+)", message)
        if unknown:
            options = [name for name in chosen._option_string_actions if name.startswith("--")]
            if arguments[0] == "evolve" and unknown[1] in verbs["train"]._option_string_actions:
                raise ConfigError(
                    f"{unknown[1]} is an option of safelight train; a search has such settings from its "
                    "genes, and from --config what no gene decides"
                ) from None
            raise ConfigError(f"unknown option {unknown[1]}; {did_you_mean(unknown[1], options)}") from None
        program = f"safelight {arguments[0]}" if chosen is not parser else "safelight"
        raise ConfigError(f"{message}; see {program} --help") from None


def _one_line(error: Exception) -> str:
    """A parser's message without its line breaks and Python's names for types."""
    text = re.sub(r"\s+", " ", str(error))
    text = re.sub(r'Parser key "([^"]*)": Expected', r"\1: expected", text)
    text = re.sub(r"expected an? (?:<class '(\w+)'>|(?:typing\.)?(\S[^.]*))", r"expected \1\2", text)
    return text.replace(". Got value: ", ", got ")


def refuse_changes(verb: str, options: Namespace, start: Start) -> None:
    """Make sure that nothing but the epochs, or the generations, differs from what is continued.

    Raises:
        ConfigError: something does.
    """
    expected: dict[str, Any] = {
        "model": start.model,
        "data": start.data.source,
        "likelihood": start.likelihood,
    }
    if verb == "evolve":
        expected |= dataclasses.asdict(start.search)
    else:
        expected |= {"limit": start.data.limit, "validation": start.data.validation}
        expected |= {f"network.{name}": v for name, v in dataclasses.asdict(start.network).items()}
        expected |= dataclasses.asdict(start.training)
    may_change = "generations" if verb == "evolve" else "epochs"
    for name in ("out", "init_from", "config", "overwrite"):
        if options.get(name):
            raise ConfigError(f"--resume continues in its own folder; drop --{name.replace('_', '-')}")
    for name, value in expected.items():
        if name != may_change and options[name] != value:
            raise ConfigError(
                f"--resume: expected its own {name.replace('_', '-')} ({value}), got {options[name]}; "
                f"only --{may_change} may change, or begin anew"
            )


def _read_json(path: str) -> dict[str, Any]:
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config: cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--config: expected JSON in {path}, got {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"--config: expected a JSON object in {path}, got {type(values).__name__}")
    return values
