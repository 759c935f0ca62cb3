"""A dummy added to each table arrives everywhere: in options, help, files, runs, searches and reports."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import pytest
from torch import nn

import safelight
from safelight.command import main as command
from safelight.command.verb import Verb
from safelight.config import network as network_settings
from safelight.config import search as search_settings
from safelight.engines import executors
from safelight.evolution import algorithms
from safelight.evolution.genetic import RandomSearch
from safelight.networks import table
from safelight.networks.base import Autoencoder, Code


@dataclass(frozen=True)
class FlatConfig:
    """One layer each way.

    Attributes:
        name: which network
        width: dimensions of the code
    """

    name: Literal["flat"] = "flat"
    width: int = 4

    @property
    def is_variational(self) -> bool:
        return False


class Flat(Autoencoder):
    def __init__(self, shape, config):
        super().__init__()
        self.shape, pixels = shape, shape[0] * shape[1] * shape[2]
        self.down, self.up = nn.Linear(pixels, config.width), nn.Linear(config.width, pixels)

    def encode(self, x):
        return Code(self.down(x.flatten(1)), None)

    def decode(self, z):
        return self.up(z).view(-1, *self.shape)


@contextmanager
def here(material, workers, address, state):
    """An engine in this process."""
    with ThreadPoolExecutor(1) as executor:
        yield executors.Engine(executor, material, 1)


@pytest.fixture
def dummies(monkeypatch):
    monkeypatch.setitem(network_settings.NETWORK_CONFIGS, "flat", FlatConfig)
    monkeypatch.setitem(table.NETWORKS, "flat", Flat)
    monkeypatch.setitem(search_settings.ALGORITHMS, "dice", "Throwing dice")
    monkeypatch.setitem(algorithms.ALGORITHMS, "dice", RandomSearch)
    monkeypatch.setitem(search_settings.ENGINES, "here", "this process")
    monkeypatch.setitem(executors.ENGINES, "here", here)


def test_a_network(dummies, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(["train", "--model", "flat", "--help"]) == 0
    assert "dimensions of the code (default: 4)" in capsys.readouterr().out
    train = ["train", "digits", "--model", "flat", "--network.width", "3", "--out", "run", "--threads", "1"]
    assert command.main([*train, "--epochs", "1"]) == 0
    assert safelight.Run("run").encode("digits").shape == (1797, 3)
    again = ["train", "digits", "--config", "run/config.json", "--out", "again", "--epochs", "1"]
    assert command.main(again) == 0
    assert safelight.Run("again").config.network == FlatConfig(width=3)
    assert command.main(["report", "run"]) == 0
    assert "flat" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_an_algorithm_and_an_engine(dummies, tmp_path, capsys):
    assert command.main(["evolve", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "dice" in shown
    assert "here: this process" in shown
    small = {"population": 3, "generations": 2, "limit": 200}
    found = safelight.evolve("digits", "flat", tmp_path / "a", algorithm="dice", engine="here", **small)
    assert len(found.trials) == 6
    assert "Throwing dice" in found.report().read_text(encoding="utf-8")


def test_a_verb(monkeypatch, capsys):
    verb = Verb(
        "greet",
        "say hello",
        "Say hello to someone.",
        ("safelight greet you",),
        lambda parser, arguments: parser.add_argument("who", type=str, help="someone"),
        lambda options, arguments: print(f"hello {options.who}"),
    )
    monkeypatch.setitem(command.VERBS, "greet", verb)
    assert command.main(["--help"]) == 0
    assert "say hello" in capsys.readouterr().out
    assert command.main(["greet", "--help"]) == 0
    assert "safelight greet you" in capsys.readouterr().out
    assert command.main(["greet", "you"]) == 0
    assert capsys.readouterr().out == "hello you\n"
