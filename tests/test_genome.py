"""Genes, spaces, repair, and their way to settings and back."""

import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.config.data import DataConfig, Fit
from safelight.config.network import ConvVAEConfig, DeepConvConfig
from safelight.config.reading import to_dict
from safelight.config.run import RunConfig
from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError
from safelight.evolution.genes import apply_genes, genes_of, hyper_genes, named_genes, structure_genes
from safelight.evolution.genome import Gene, Space

IMAGE = Fit(28, 28, 1)
SMALL = RunConfig(ConvVAEConfig(), IMAGE, DataConfig(), TrainingConfig())
DEEP = RunConfig(DeepConvConfig(), IMAGE, DataConfig(), TrainingConfig())
RATE = {"kind": "float", "low": 0.001, "high": 0.01}
DECAY = {"training.decay": {"kind": "categorical", "choices": ["linear", "gamma"]}}

units = st.floats(0, 1)


@given(units, st.sampled_from(list((hyper_genes() | structure_genes(IMAGE)).values())))
def test_a_value_stands_for_itself(unit, gene):
    value = gene.decode(unit)
    assert gene.decode(gene.encode(value)) == value
    if gene.is_ordered:
        assert gene.low <= value <= gene.high
    else:
        assert value in gene.choices


def test_scales():
    rate = Gene("log-float", 1e-8, 1.0)
    assert [rate.decode(u) for u in (0, 0.25, 0.5, 1)] == [1e-8, 1e-6, 1e-4, 1]
    batch = Gene("integer", 10, 128)
    values = [batch.decode(i / 11900) for i in range(11901)]
    counts = [values.count(v) for v in range(10, 129)]
    assert min(counts) >= 99  # every whole number has the same share of the scale, the last one too
    assert max(counts) <= 102
    channels = Gene("log-integer", 8, 127)
    assert [channels.decode(u) for u in (0, 0.25, 0.5, 0.75, 1)] == [8, 16, 32, 64, 127]
    assert Gene("float", 0, 1).decode(1 / 3) == 0.3333


@pytest.mark.parametrize(
    ("gene", "words"),
    [
        ({"kind": "float", "low": 1, "high": 1}, "low < high, got 1 to 1"),
        ({"kind": "integer", "low": 5, "high": 2}, "low < high, got 5 to 2"),
        ({"kind": "float"}, "low < high"),
        ({"kind": "float", "low": 0, "high": math.inf}, "low < high"),
        ({"kind": "log-float", "low": 0, "high": 1}, "above 0 on a log scale"),
        ({"kind": "integer", "low": 0.5, "high": 3}, "whole numbers as a range"),
        ({"kind": "categorical"}, "choices that differ"),
        ({"kind": "categorical", "choices": ("a", "a")}, "choices that differ"),
        ({"kind": "categorical", "choices": ([1],)}, "text or numbers"),
        ({"kind": "float", "low": 0, "high": 1, "choices": (1,)}, "no choices"),
    ],
)
def test_empty_genes_are_refused(gene, words):
    with pytest.raises(ConfigError, match=words):
        Gene(**gene)


def test_genes_of_a_stage_act_only_where_there_is_one():
    space = Space(structure_genes(IMAGE))
    for stages in (1, 2, 3):
        values = space.decode(space.encode({"network.stages": stages}))
        assert values["network.stages"] == stages
        assert [n for n in values if n.startswith("network.channels")] == [
            f"network.channels.{i}" for i in range(stages)
        ]


def test_conditions_name_earlier_genes_and_their_values():
    late = {"a": Gene("float", 0, 1, when={"b": (1,)}), "b": Gene("integer", 0, 1)}
    with pytest.raises(ConfigError, match="a: expected a condition on an earlier gene, got 'b'"):
        Space(late)
    foreign = {"b": Gene("integer", 0, 1), "a": Gene("float", 0, 1, when={"b": (2,)})}
    with pytest.raises(ConfigError, match="a: when b: expected 0 to 1, got 2"):
        Space(foreign)
    with pytest.raises(ConfigError, match="1 to 100 genes, got 0"):
        Space({})


def width(values):
    """A size that grows with every stage's channels and with stride 1."""
    total = 0
    for i in range(values["network.stages"]):
        total += values[f"network.channels.{i}"] * (4 if values[f"network.strides.{i}"] == 1 else 1)
    return total


@settings(deadline=None)
@given(st.lists(units, min_size=len(structure_genes(IMAGE)), max_size=len(structure_genes(IMAGE))))
def test_repair_keeps_the_bound_and_what_keeps_it(genotype):
    genotype = tuple(genotype)
    space = Space(structure_genes(IMAGE), excess=lambda values: width(values) / 60)
    repaired = space.repair(genotype)
    assert width(space.decode(repaired)) <= 60
    if width(space.decode(genotype)) <= 60:
        assert repaired == genotype
    assert space.repair(repaired) == repaired


def test_repair_uses_the_room_it_has():
    space = Space(structure_genes(IMAGE), excess=lambda values: width(values) / 60)
    wide = space.encode({"network.stages": 2, "network.strides.0": 2, "network.strides.1": 2})
    big = tuple(1.0 if "channels" in n else u for n, u in zip(space.genes, wide, strict=True))
    values = space.decode(space.repair(big))
    assert values["network.stages"] == 2  # widths alone were enough
    assert 50 <= width(values) <= 60


def test_a_bound_that_nothing_keeps_is_refused_at_once():
    with pytest.raises(ConfigError, match="no network in it is small enough; raise --max-parameters"):
        Space(structure_genes(IMAGE), excess=lambda values: width(values) / 7)


def test_settings_there_and_back():
    space = Space(hyper_genes() | structure_genes(IMAGE))
    network = DeepConvConfig(channels=(12, 30, 50), kernels=(3,), hidden=100, activation="elu")
    base = RunConfig(network, IMAGE, DataConfig(), TrainingConfig(lr=0.002, weight_decay=0))
    known = genes_of(base, space)
    assert known["network.stages"] == 3
    assert known["training.weight_decay"] == 1e-7  # as near as the range allows
    found = apply_genes(space.decode(space.encode(known)), DEEP)
    assert found.network.channels == (12, 30, 50)
    assert found.network.kernels == (3, 3, 3)
    assert found.network.strides == (2, 2, 2)
    assert (found.network.hidden, found.network.activation) == (100, "elu")
    assert (found.training.lr, found.training.decay) == (0.002, "linear")


def test_a_decay_that_is_a_gene_needs_nothing_else():
    """The base's gamma does not act where the rate falls linearly; the report's alone means its decay."""
    base = dataclasses.replace(DEEP, training=TrainingConfig(decay="gamma", gamma=0.5))
    linear = apply_genes({"training.decay": "linear"}, base).training
    assert (linear.decay, linear.gamma) == ("linear", 1.0)
    assert apply_genes({"training.decay": "gamma"}, base).training.gamma == 0.5
    space = Space(hyper_genes())
    assert "training.gamma" not in space.decode((0.3,) * 6)  # it acts only where it decides
    assert apply_genes({"training.gamma": 0.2}, DEEP).training.decay == "gamma"
    assert list(named_genes("report", DEEP)) == [
        f"training.{name}" for name in ("batch_size", "lr", "gamma", "weight_decay")
    ]


def test_genes_of_the_task_change_it():
    assert apply_genes({"task.beta": 2.5}, DEEP).task.beta == 2.5
    assert genes_of(DEEP, Space({"task.beta": Gene("float", 0, 4)})) == {"task.beta": 1.0}


@pytest.mark.parametrize("name", hyper_genes() | structure_genes(IMAGE))
def test_every_gene_changes_the_settings(name):
    genes = hyper_genes() | structure_genes(IMAGE)
    space = Space(genes)
    base = {n: genes[n].decode(0.3) for n in genes} | {"network.stages": 3, "training.decay": "linear"}
    if name == "training.gamma":
        base["training.decay"] = "gamma"
    other = base | {name: genes[name].decode(0.9) if name != "network.stages" else 2}
    results = [apply_genes(space.decode(space.encode(v)), DEEP) for v in (base, other)]
    assert results[0] != results[1]


def test_spaces_by_name_and_from_a_file(tmp_path):
    assert set(named_genes("both", DEEP)) == set(hyper_genes()) | set(structure_genes(IMAGE))
    assert structure_genes(Fit(8, 8, 1))["network.stages"].high == 2
    path = tmp_path / "space.json"
    path.write_text(
        json.dumps(
            {
                "training.lr": {"kind": "log-float", "low": 1e-4, "high": 0.01},
                "network.activation": {"kind": "categorical", "choices": ["relu", "silu"]},
                "network.channels.0": {"kind": "integer", "low": 4, "high": 8},
            }
        )
    )
    genes = named_genes(str(path), DEEP)
    assert genes["training.lr"] == Gene("log-float", 1e-4, 0.01)
    assert genes["network.activation"].choices == ("relu", "silu")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"training.lrr": {"kind": "float", "low": 0, "high": 1}},
            "unknown gene 'training.lrr'; did you mean",
        ),
        ({"training.epochs": {"kind": "integer", "low": 1, "high": 2}}, "unknown gene 'training.epochs'"),
        ({"training.lr": {"kind": "float", "low": 1, "high": 0}}, "training.lr: expected a range"),
        (
            {"training.lr": {"kind": "fluid", "low": 0, "high": 1}},
            "lr: kind: expected one of integer",
        ),
        ({"training.lr": {"kind": "float", "hi": 1}}, "unknown key 'hi'; did you mean 'high'"),
        ({"training.lr": 3}, "expected an object of kind"),
        ([1], "expected a JSON object"),
        ({"training.lr": RATE | {"when": {"foo": [1]}}}, "a condition on an earlier gene, got 'foo'"),
        (DECAY | {"training.lr": RATE | {"when": {"training.decay": []}}}, "expected values of it, got none"),
        (DECAY | {"training.lr": RATE | {"when": {"training.decay": ["x"]}}}, "when training.decay: "),
        ({"network.stages": {"kind": "categorical", "choices": ["x"]}}, "network.stages: expected 1 to"),
    ],
)
def test_bad_space_files(tmp_path, content, words):
    (tmp_path / "space.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=words):
        named_genes(str(tmp_path / "space.json"), DEEP)


def test_bad_space_names(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'structure'"):
        named_genes("structur", DEEP)
    with pytest.raises(ConfigError, match="conv-vae has one structure"):
        named_genes("structure", SMALL)
    with pytest.raises(ConfigError, match="cannot read"):
        named_genes(str(tmp_path / "none.json"), SMALL)
    kernels = {"network.kernels.0": {"kind": "integer", "low": 2, "high": 4}}
    (tmp_path / "kernels.json").write_text(json.dumps(kernels))
    assert set(named_genes(str(tmp_path / "kernels.json"), DEEP)) == set(kernels)
    with pytest.raises(ConfigError, match="unknown gene 'network"):
        named_genes(str(tmp_path / "kernels.json"), SMALL)
    whole = structure_genes(DEEP.image)  # genes of stages that the network to begin with has not
    (tmp_path / "whole.json").write_text(json.dumps({name: to_dict(gene) for name, gene in whole.items()}))
    assert named_genes(str(tmp_path / "whole.json"), DEEP) == whole
