"""A task of a user's own, end to end: everything around the loop takes it as it takes ours."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import safelight
from safelight.config import task as task_settings
from safelight.config.data import DataConfig, Fit
from safelight.config.network import ConvVAEConfig
from safelight.config.run import RunConfig
from safelight.config.search import SearchConfig
from safelight.config.task import NoOptions
from safelight.config.training import TrainingConfig
from safelight.data.batches import Batch
from safelight.data.pictures import tile
from safelight.engines.executors import Engine
from safelight.errors import ConfigError, RunError
from safelight.evolution.folder import SearchFolder
from safelight.evolution.genome import Gene
from safelight.evolution.record import SearchRecord
from safelight.evolution.search import run_search
from safelight.evolution.trial import Material
from safelight.reporting.comparison import compare
from safelight.tasks import table


class RotationNet(safelight.Network):
    """Says by how many quarters an image was turned."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, x):
        return self.layers(x)


def turned(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Every image turned by a quarter more than the one before it, from a random one on."""
    first = int(torch.randint(4, (1,), generator=generator))
    return torch.stack([torch.rot90(x, (first + i) % 4, (1, 2)) for i, x in enumerate(images)])


class RotationLoss(nn.Module):
    def forward(self, network, batch, generator, progress):
        quarters = [
            [torch.equal(torch.rot90(x, k, (1, 2)), y) for k in range(4)].index(True)
            for x, y in zip(batch.images, batch.inputs, strict=True)
        ]
        logits, target = network(batch.inputs), torch.tensor(quarters)
        accuracy = (logits.argmax(1) == target).float().mean()
        return {"loss": F.cross_entropy(logits, target), "accuracy": accuracy}


class PredictRotation(safelight.Task):
    measures = (
        safelight.Measure("accuracy", "accuracy", "share of quarter turns", lower_is_better=False),
        safelight.Measure("loss", "loss", "cross-entropy", "nats per image"),
    )
    sheets = (safelight.Sheet("seen", "What it sees", "Some of the images."),)
    transform = staticmethod(turned)

    def loss(self):
        return RotationLoss()

    def measure(self, network, loss, images):
        x = images.floats()
        batch = Batch(x, turned(x, torch.Generator().manual_seed(0)), None, torch.arange(len(x)))
        return {name: term.item() for name, term in loss(network, batch, None, 1.0).items()}

    def evaluate(self, network, loss, images, options):
        return safelight.Evaluation(self.measure(network, loss, images), {"seen": tile(images.floats(), 9)})

    def draw(self, network, shown, train):
        return {"seen": tile(shown.floats().numpy(), 5)}


SETTINGS = {"epochs": 4, "batch_size": 50, "lr": 0.01, "threads": 1}


def train(path: Path, **changes) -> safelight.Run:
    torch.manual_seed(0)  # a network handed over has its weights already
    return safelight.train("digits", RotationNet(), path, task=PredictRotation(), **(SETTINGS | changes))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "turned")


def test_it_learns_and_its_history_holds_its_measures(run):
    first, last = run.history[0], run.history[-1]
    assert list(last["validation"]) == ["accuracy", "loss"]  # in the order of the table
    assert set(last["train"]) == {"accuracy", "loss"}
    assert last["validation"]["accuracy"] > max(0.8, first["validation"]["accuracy"])


def test_the_best_weights_are_those_of_its_first_measure(run):
    accuracies = [record["validation"]["accuracy"] for record in run.history]
    assert run.evaluate("validation")["accuracy"] == pytest.approx(max(accuracies))
    assert run.evaluate("test")["n"] == 180
    assert (run.folder.figures / "evaluation" / "seen.png").exists()


def test_patience_follows_its_first_measure(tmp_path):
    accuracies = [
        record["validation"]["accuracy"]
        for record in train(tmp_path / "a", epochs=60, patience=2, decay="gamma").history
    ]
    best = accuracies.index(max(accuracies))
    assert len(accuracies) == best + 1 + 2 < 60


def test_the_report_and_the_comparison_know_it_without_its_class(run, tmp_path):
    run.evaluate("test")
    text = run.report().read_text(encoding="utf-8")
    assert "What it sees" in text
    assert "share of quarter turns" in text
    assert "higher is better" in text
    other = safelight.train("digits", out=tmp_path / "plain", epochs=1, threads=1, channels=(8,))
    rows = compare([run.folder, other.folder])
    assert [row["measure"] for row in rows] == ["accuracy", "loss"]
    assert rows[0]["best_validation"] == max(r["validation"]["accuracy"] for r in run.history)
    assert rows[0]["convention"] != rows[1]["convention"]


def test_it_has_no_codes_and_its_class_is_asked_for(run):
    with pytest.raises(RunError, match="a RotationNet has no codes"):
        run.encode("digits")
    with pytest.raises(RunError, match="a network of your own, 'RotationNet'"):
        safelight.Run(run.path).evaluate()
    with pytest.raises(RunError, match="a task of your own, 'PredictRotation'"):
        safelight.Run(run.path, RotationNet).evaluate()
    again = safelight.Run(run.path, RotationNet, PredictRotation)
    assert again.evaluate("validation") == run.evaluate("validation")
    with pytest.raises(ConfigError, match="unknown key 'samples'"):
        again.evaluate("validation", samples=3)


def test_a_network_that_does_not_fit_the_task_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ConfigError, match="expected a network with encode and decode, got RotationNet"):
        safelight.train("digits", RotationNet(), tmp_path / "a")
    with pytest.raises(ConfigError, match="task: expected a name, or a Task"):
        safelight.train("digits", RotationNet(), tmp_path / "a", task=3)
    assert not (tmp_path / "a").exists()


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from test_tasks import PredictRotation, RotationNet, train
import safelight
from pathlib import Path
train(Path(sys.argv[1]), epochs=8)
"""


def test_killed_it_goes_on_to_the_same_bits(tmp_path):
    straight = train(tmp_path / "straight", epochs=8)
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path / "killed"])
    history = tmp_path / "killed" / "history.jsonl"
    while not history.exists() or len(history.read_text().splitlines()) < 3:
        assert process.poll() is None, "finished before it could be killed"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    safelight.resume(tmp_path / "killed", network=RotationNet, task=PredictRotation)
    one, other = (
        safetensors.torch.load_file(tmp_path / name / "model.safetensors") for name in ("straight", "killed")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    again = safelight.Run(tmp_path / "killed", RotationNet, PredictRotation)
    assert [r["validation"] for r in again.history] == [r["validation"] for r in straight.history]


# A task in our own table


@dataclasses.dataclass(frozen=True)
class DarkConfig:
    """Training to draw black.

    Attributes:
        name: the task
        shade: what to draw
    """

    evaluation = NoOptions

    name: Literal["darken"] = "darken"
    shade: float = 0.0


class DarkLoss(nn.Module):
    def __init__(self, shade):
        super().__init__()
        self.shade = shade

    def forward(self, network, batch, generator, progress):
        return {"loss": (network.reconstruct(batch.inputs) - self.shade).square().mean()}


class Darken(safelight.Task):
    measures = (safelight.Measure("loss", "distance", "squared, from a shade"),)
    sheets = ()
    transform = None

    def __init__(self, config):
        self.shade = config.task.shade

    def loss(self):
        return DarkLoss(self.shade)

    def measure(self, network, loss, images):
        with torch.no_grad():
            return {"loss": loss(network, Batch.of(images), None, 1.0)["loss"].item()}

    def evaluate(self, network, loss, images, options):
        return safelight.Evaluation(self.measure(network, loss, images))

    def draw(self, network, shown, train):
        return {}


@pytest.fixture
def darken(monkeypatch):
    monkeypatch.setitem(task_settings.TASK_CONFIGS, "darken", DarkConfig)
    monkeypatch.setitem(table.TASKS, "darken", Darken)


def test_a_task_in_the_table_arrives_everywhere(darken, tmp_path, capsys, monkeypatch):
    from safelight.command.main import main

    monkeypatch.chdir(tmp_path)
    assert main(["train", "--task", "darken", "--help"]) == 0
    assert "--shade" in capsys.readouterr().out
    command = ["train", "digits", "--out", "dark", "--shade", "0.25", "--epochs", "2", "--threads", "1"]
    assert main(command) == 0  # an option that only this task has chooses it
    run = safelight.Run("dark")
    assert (run.config.task.name, run.config.task.shade) == ("darken", 0.25)
    assert np.abs(run.reconstruct("digits") - 0.25).mean() < 0.1
    assert main(["evaluate", "dark"]) == 0
    assert "squared, from a shade" in capsys.readouterr().out
    assert main(["train", "--resume", "dark", "--epochs", "3"]) == 0
    assert len(run.history) == 3
    assert main(["report", "dark"]) == 0
    assert "squared, from a shade" in (tmp_path / "dark" / "report.html").read_text(encoding="utf-8")


def test_a_search_judges_by_the_tasks_first_measure(darken, digits, tmp_path):
    """On an engine in this process, as others do not know the dummy."""
    base = RunConfig(
        ConvVAEConfig(),
        Fit(8, 8, 1, (0, 16)),
        DataConfig(),
        TrainingConfig(batch_size=300),
        DarkConfig(),
    )
    genes = {"task.shade": Gene("float", 0, 1), "training.lr": Gene("log-float", 1e-3, 0.1)}
    record = SearchRecord(SearchConfig(population=4, generations=2, limit=300), genes, base)
    splits = digits.split(limit=300)
    folder = SearchFolder(tmp_path / "search")
    with folder.create(), ThreadPoolExecutor(1) as executor:
        folder.write_config(record)
        finalists = run_search(folder, record, Engine(executor, Material(splits.train, splits.validation), 1))
    trials = safelight.Search(folder.path).trials
    assert len(trials) == 8
    assert all(0 < trial.rank_by[0] < 1 for trial in trials)  # mean squares, no nats
    assert finalists[0].values["task.shade"] in {trial.values["task.shade"] for trial in trials}
    assert safelight.Search(folder.path).best["task"]["name"] == "darken"
