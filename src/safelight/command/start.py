"""What the options of `train` and `evolve` start from: defaults, a --config file, or what to --resume."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from safelight.command.options import add_fields, option
from safelight.config.data import DataConfig, Fit, FitOptions
from safelight.config.network import NETWORK_CONFIGS, CustomNetwork, DeepConvConfig
from safelight.config.reading import did_you_mean, fields_of, from_dict, read_json, read_tagged, to_dict
from safelight.config.run import FORMAT_VERSION, RunConfig, default_task
from safelight.config.search import SearchConfig
from safelight.config.task import TASK_CONFIGS, AutoencodeConfig, CustomTask, DenoiseConfig
from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError
from safelight.files import why

__all__ = ["Start"]


@dataclass
class Start:
    """Settings before the options.

    Attributes:
        network: decides which --network options there are.
        task: likewise; None until it is known, where no file says.
        training: of `train`, or of every trial.
        data: where the images come from.
        fit: how pictures are made alike.
        search: of `evolve`.
        named: for each of network, task and training, the settings that a file named.
    """

    network: Any = field(default_factory=DeepConvConfig)
    task: Any = None
    training: TrainingConfig = field(default_factory=TrainingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    fit: FitOptions = field(default_factory=FitOptions)
    search: SearchConfig = field(default_factory=SearchConfig)
    named: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, verb: str, arguments: list[str]) -> Start:
        """Look ahead for the options that decide which other options there are, and their defaults."""
        ahead = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        for name in ("--model", "--task", "--config", "--resume"):
            ahead.add_argument(name)
        try:
            found, _ = ahead.parse_known_args(arguments)
        except argparse.ArgumentError as error:
            raise ConfigError(str(error)) from None
        start = cls()
        if found.resume and verb == "evolve":
            from safelight.evolution.folder import SearchFolder

            record = SearchFolder(found.resume).read_config()
            start = cls._from_values(to_dict(record.base), f"{found.resume}/config.json")
            start.search = record.search
        elif found.resume:
            from safelight.runs.folder import RunFolder

            config = RunFolder(found.resume).read_config()
            start = cls._from_values(to_dict(config), f"{found.resume}/config.json")
        elif found.config:
            start = cls._from_values(_read(found.config), found.config)
            start.search = dataclasses.replace(start.search, limit=start.data.limit)
        given = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
        start._replace("network", "model", found.model, NETWORK_CONFIGS)
        if start.task is None:
            start.task = default_task("autoencode", start.network.name)
        start._replace("task", "task", found.task or start._task_of(given), TASK_CONFIGS)
        return start

    def left_open(self, part: str) -> set[str]:
        """The settings of network, task or training that the images choose where no option names them."""
        fields = dataclasses.fields(getattr(self, part))
        return {f.name for f in fields if "chosen" in f.metadata} - self.named.get(part, set())

    def add_folder(self, group: Any, kind: str, more: str, config: str) -> None:
        """The options that say what to work on, and where.

        Args:
            group: of a parser.
            kind: of folder that is made, such as run.
            more: what may grow when it is continued.
            config: what a file given by --config sets.
        """
        source = self.data.source
        group.add_argument(
            "data", type=str, nargs="?", default=source, help="named set, file or folder of images"
        )
        group.add_argument("--out", type=str, help=f"{kind} folder to make")
        group.add_argument("--overwrite", action="store_true", help=f"replace a {kind} that is in --out")
        group.add_argument(
            "--resume", type=str, metavar=kind.upper(), help=f"continue this {kind}, also with more --{more}"
        )
        words = f"{config}: a run's config.json, or part of one"
        group.add_argument("--config", type=str, metavar="FILE", help=words)

    def add_options(self, network: Any, task: Any, left_open: Container[str] = ()) -> None:
        """The options that choose network and task, to two groups of a parser.

        Args:
            network: the group for the network.
            task: the group for the task, which gets its settings too.
            left_open: settings of the task that are chosen from the images.
        """
        for group, name, what, start, table in (
            (network, "--model", "kind of network", self.network, NETWORK_CONFIGS),
            (task, "--task", "what the network is trained for", self.task, TASK_CONFIGS),
        ):
            words = f"{what} (default: {start.name})"
            group.add_argument(name, choices=tuple(table), default=start.name, help=words)
        add_fields(task, self.task, left_open=left_open)

    def settings(self, options: Namespace) -> dict[str, Any]:
        """The task's settings as they were given."""
        return {name: options[name] for name in fields_of(type(self.task)) if name in options}

    def idle(self, options: Namespace) -> dict[str, str]:
        """The options of network and task that do nothing beside the others."""
        if isinstance(self.task, AutoencodeConfig) and not self.network.is_variational:
            why = f"the codes of {self.network.name} are points, which have no KL to weigh"
            return {"--beta": why, "--beta-warmup": why}
        if isinstance(self.task, AutoencodeConfig) and options.beta == 0:
            return {"--beta-warmup": "it rises to --beta, which is 0"}
        if isinstance(self.task, DenoiseConfig) and options.self_supervised:
            return {"--likelihood": "--self-supervised has a likelihood of its own"}
        return {}

    def refuse_changes(self, options: Namespace, may_change: str, expected: Mapping[str, Any]) -> None:
        """Make sure that nothing else than one option differs from what is continued.

        Raises:
            ConfigError: something does.
        """
        for name in ("out", "init_from", "config", "overwrite"):
            if options.get(name):
                raise ConfigError(f"--resume continues in its own folder; drop {option(name)}")
        own = {"model": self.network.name, "task": self.task.name, "data": self.data.source}
        own |= {name: value for name, value in dataclasses.asdict(self.task).items() if name != "name"}
        for name, value in {**own, **expected}.items():
            if name != may_change and name in options and options[name] != value:
                if name == "data":
                    raise ConfigError(
                        f"--resume: expected its own images ({value}), got {options[name]}; if they moved: "
                        f"safelight data moved {shlex.quote(options.resume)} {shlex.quote(options.data)}"
                    )
                raise ConfigError(
                    f"--resume: expected its own {name.replace('_', '-')} ({value}), got {options[name]}; "
                    f"only --{may_change} may change, or begin anew"
                )

    def _task_of(self, given: set[str]) -> str | None:
        """The task that alone has an option which was given."""
        own = {option(name) for name in fields_of(type(self.task))}
        for name, config in TASK_CONFIGS.items():
            if given & {option(field) for field in fields_of(config) if field != "name"} - own:
                return name
        return None

    def _replace(self, part: str, what: str, name: str | None, table: Mapping[str, type[Any]]) -> None:
        """Begin with another network or task than what a file named, if one is asked for."""
        if name is None or name == getattr(self, part).name:
            return
        if name not in table:
            raise ConfigError(f"unknown {what} {name!r}; {did_you_mean(name, table)}")
        made = default_task(name, self.network.name) if part == "task" else table[name](name=name)
        setattr(self, part, made)
        self.named.pop(part, None)

    @classmethod
    def _from_values(cls, values: dict[str, Any], where: str) -> Start:
        if values.get("kind", "run") != "run":
            raise ConfigError(
                f"{where}: kind: expected run, got {values['kind']!r}; of a search, give its best.json"
            )
        known = [f.name for f in dataclasses.fields(RunConfig)]
        for key in values:
            if key not in known:
                raise ConfigError(f"{where}: unknown key {key!r}; {did_you_mean(key, known)}")
        if values.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
            version = values["format_version"]
            raise ConfigError(
                f"{where}: expected format_version {FORMAT_VERSION}, got {version!r}; drop that key"
            )
        start = cls()
        for part, table, custom in (
            ("network", NETWORK_CONFIGS, CustomNetwork),
            ("task", TASK_CONFIGS, CustomTask),
        ):
            if part not in values:
                continue
            tables = {**table, "custom": custom}
            setattr(start, part, read_tagged(tables, values[part], f"{where}: {part}"))
            start.named[part] = set(values[part])
            if isinstance(getattr(start, part), custom):
                raise ConfigError(
                    f"{where}: the run holds a {part} of your own, {getattr(start, part).class_name!r}; "
                    "from Python, use safelight.train or safelight.resume with it"
                )
        start.training = from_dict(TrainingConfig, values.get("training", {}), f"{where}: training")
        start.named["training"] = set(values.get("training", {}))
        start.data = from_dict(DataConfig, values.get("data", {}), f"{where}: data")
        if "image" in values:
            start.fit = FitOptions.of(from_dict(Fit, values["image"], f"{where}: image"))
        return start


def _read(path: str) -> dict[str, Any]:
    try:
        return read_json(Path(path))
    except OSError as error:
        raise ConfigError(f"--config: cannot read {path}: {why(error)}") from None
