"""The original report's experiment takes a folder for what it holds, not for what it is called."""

import json

import pytest
from jsonargparse import Namespace

import safelight
from deep_learning_hw2 import __main__ as experiment
from safelight.errors import RunError


@pytest.fixture
def options(tmp_path, monkeypatch, digits):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(safelight, "load", lambda *names, **options: digits)
    return Namespace(**experiment.WHOLE)


def test_a_quick_look_is_not_the_whole(options, capsys):
    quick = Namespace(**{**options.as_dict(), "epochs": 1, "limit": 60})
    experiment.show(quick)
    place = experiment.place_of(experiment.RUN, quick)
    assert place.name == "deep_learning_hw2-epochs-1-limit-60"
    assert "Test set loss" in capsys.readouterr().out
    assert not experiment.place_of(experiment.RUN, options).exists()
    before = (place / "model.safetensors").stat()
    experiment.show(quick)  # only shown
    assert (place / "model.safetensors").stat() == before


def test_only_a_searchs_options_name_a_search(options):
    other = Namespace(**{**options.as_dict(), "population": 4})
    assert experiment.place_of(experiment.RUN, other) == experiment.place_of(experiment.RUN, options)
    assert experiment.place_of(experiment.SEARCH, other).name.endswith("_evolution-population-4")


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [("training", "epochs", 2), ("training", "lr", 0.5), ("data", "limit", 50), ("data", "validation", 9)],
)
def test_a_folder_of_other_settings_is_refused(part, name, value, options, tmp_path):
    settings = {**experiment.BY_HAND, "epochs": 1}
    path = tmp_path / "run"
    run = experiment.trained(path, settings, 60)
    config = json.loads((path / "config.json").read_text())
    config[part][name] = value
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=rf"expected {name} .*, got {value}; move that folder away"):
        experiment.trained(path, settings, 60)
    with pytest.raises(RunError, match="expected name deep-conv-vae, got conv-vae"):
        experiment.trained(path, settings, 60, "deep-conv-vae")
    assert run.path == path


def test_a_search_of_other_settings_is_refused(options, tmp_path, monkeypatch):
    small = {"population": 5, "budget": 21, "for_epochs": 1, "limit": 60}
    quick = Namespace(population=5, budget=21, epochs=1, limit=60)
    place = experiment.place_of(experiment.SEARCH, quick)
    safelight.evolve("digits", "conv-vae", place, workers=1, **{**small, "budget": 22})
    with pytest.raises(RunError, match="expected budget 21, got 22; move that folder away"):
        experiment.evolve(quick)
