"""Only what means the same is compared: by a search's genes, and between runs."""

import dataclasses
import json
from itertools import combinations

import pytest

from safelight.config.data import DataConfig, Fit
from safelight.config.network import ConvVAEConfig, DeepConvConfig, UNetConfig
from safelight.config.run import RunConfig
from safelight.config.task import AutoencodeConfig, ClassifyConfig, DenoiseConfig
from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError
from safelight.evolution.genes import named_genes
from safelight.reporting.comparison import compare, draw_comparison
from safelight.runs.folder import RunFolder
from safelight.tasks.table import make_task

IMAGE = Fit(8, 8, 1)


def config(network=None, task=None, **data):
    source = DataConfig("digits", "0" * 64, **data)
    return RunConfig(network or DeepConvConfig(), IMAGE, source, TrainingConfig(), task or AutoencodeConfig())


def denoiser(network=None, **settings):
    return config(network or UNetConfig(), DenoiseConfig(**settings))


@pytest.mark.parametrize(
    ("base", "name", "choices"),
    [
        (config(), "task.likelihood", ["bernoulli", "gaussian"]),
        (denoiser(), "task.likelihood", ["gaussian", "student"]),
        (denoiser(), "task.corrupt", ["gaussian:0..1", "gaussian:0..0.5"]),
        (denoiser(), "task.corrupt", ["gaussian:0.5", "blur:1"]),
        (denoiser(), "task.self_supervised", [False, True]),
    ],
)
def test_no_gene_changes_what_the_loss_means(base, name, choices, tmp_path):
    space = tmp_path / "space.json"
    space.write_text(json.dumps({name: {"kind": "categorical", "choices": choices}}))
    with pytest.raises(ConfigError, match=rf"{name}: .*expected genes that leave the loss what it is"):
        named_genes(str(space), base)


@pytest.mark.parametrize(
    ("base", "name", "gene"),
    [
        (config(), "task.beta", {"kind": "float", "low": 0, "high": 4}),
        (config(task=ClassifyConfig()), "task.label_smoothing", {"kind": "float", "low": 0, "high": 0.5}),
        (config(), "training.precision", {"kind": "categorical", "choices": ["float32", "bfloat16"]}),
        (denoiser(), "task.corrupt", {"kind": "categorical", "choices": ["gaussian:0..1"]}),
    ],
)
def test_genes_of_training_alone_are_taken(base, name, gene, tmp_path):
    space = tmp_path / "space.json"
    space.write_text(json.dumps({name: gene}))
    assert list(named_genes(str(space), base)) == [name]


@pytest.mark.parametrize("name", ["task.spread", "task.class_names.0"])
def test_what_follows_from_the_data_is_no_gene(name, tmp_path):
    space = tmp_path / "space.json"
    space.write_text(json.dumps({name: {"kind": "categorical", "choices": ["a", "b"]}}))
    with pytest.raises(ConfigError, match="unknown gene"):
        named_genes(str(space), config(task=ClassifyConfig()))


def meaning(config):
    return make_task(config).measures[0]


def test_denoisers_name_their_whole_convention():
    unlike = [
        denoiser(),
        denoiser(likelihood="gaussian"),
        denoiser(corrupt="gaussian:0.3"),
        denoiser(corrupt="gaussian:0.3+blocks:8"),
        denoiser(DeepConvConfig()),  # its loss has a KL
        denoiser(self_supervised=True),
        dataclasses.replace(denoiser(), image=Fit(8, 8, 3)),
    ]
    assert all(meaning(a) != meaning(b) for a, b in combinations(unlike, 2))
    alike = [denoiser(), denoiser(corrupt="gaussian:0..1"), denoiser(DeepConvConfig(name="deep-conv-ae"))]
    assert len({meaning(each) for each in alike}) == 1  # no code's noise, no KL


def folder(path, config, loss):
    run = RunFolder(path)
    with run.create():
        run.write_config(config)
    record = {"epoch": 1, "train": {"loss": loss}, "validation": {"loss": loss}, "lr": 0.1}
    run.write_history([record | {"seconds": 1.0, "images_per_second": 1.0}])
    return run


def titles(folders, path, monkeypatch):
    """What the panels of a comparison are called, and the runs in each."""
    drawn = []
    from safelight.reporting import comparison

    real = comparison.comparison_chart
    monkeypatch.setattr(comparison, "comparison_chart", lambda groups: drawn.append(groups) or real(groups))
    draw_comparison(folders, path)
    return [[name for name, _ in runs] for _, runs in drawn[0]]


def test_unlike_denoisers_are_drawn_apart(tmp_path, monkeypatch):
    runs = {
        "bernoulli": denoiser(),
        "gaussian": denoiser(likelihood="gaussian"),
        "vae": denoiser(ConvVAEConfig()),
        "same": denoiser(UNetConfig(attention=1)),
    }
    folders = [folder(tmp_path / name, each, 40.0) for name, each in runs.items()]
    rows = compare(folders)
    assert len({row["convention"] for row in rows}) == 3
    groups = titles(folders, tmp_path / "all.png", monkeypatch)
    assert groups == [["bernoulli", "same"], ["gaussian"], ["vae"]]


def test_other_validation_images_are_another_measurement(tmp_path, monkeypatch):
    counts = {"a": 100, "b": 200, "c": 100}
    folders = [folder(tmp_path / name, config(validation=n), 40.0) for name, n in counts.items()]
    assert titles(folders, tmp_path / "all.png", monkeypatch) == [["a", "c"], ["b"]]


def test_a_comparison_says_what_a_test_loss_was_measured_on(tmp_path):
    folders = [folder(tmp_path / name, denoiser(), 40.0) for name in ("own", "other")]
    for run, corrupt in zip(folders, ("gaussian:0..1", "gaussian:0.9"), strict=True):
        run.write_weights("model.safetensors", *_parts(denoiser()))
        weights = run.read_weights("model.safetensors", *_parts(denoiser()))
        run.add_evaluation("test", {"loss": 40.0, "n": 5, "corrupt": corrupt, "weights": weights})
    assert [row["test_on"] for row in compare(folders)] == ["gaussian:0..1", "gaussian:0.9"]


def _parts(config):
    from safelight.runs.assembly import assemble

    parts = assemble(config)
    return parts.network, parts.loss
