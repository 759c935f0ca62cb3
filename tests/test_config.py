import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safelight.config.data import DataConfig, Fit
from safelight.config.network import ConvVAEConfig, DeepConvConfig
from safelight.config.reading import did_you_mean, from_dict, to_dict
from safelight.config.run import RunConfig
from safelight.config.task import AutoencodeConfig
from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError
from safelight.networks.deep_conv import DeepConvVAE

RUN = {
    "network": {"name": "conv-vae"},
    "image": {"height": 8, "width": 8, "channels": 1},
    "data": {},
    "training": {},
}


@given(
    st.builds(
        TrainingConfig,
        epochs=st.integers(1, 10**9),
        batch_size=st.integers(1, 10**6),
        lr=st.floats(1e-12, 1e12),
        warmup=st.floats(0, 1),
        decay=st.just("gamma"),
        gamma=st.floats(0, 1),
        weight_decay=st.floats(0, 1e6),
        seed=st.integers(0, 2**63 - 1),
        threads=st.none() | st.integers(1, 512),
        precision=st.sampled_from(["float32", "bfloat16"]),
        patience=st.none() | st.integers(1, 100),
    )
)
def test_any_training_survives_json(config):
    assert from_dict(TrainingConfig, json.loads(json.dumps(to_dict(config))), "file") == config


def test_a_whole_run_survives_json():
    config = RunConfig(
        DeepConvConfig(channels=(4, 8, 16)),
        Fit(28, 30, 3, (0.0, 1.0)),
        DataConfig("mnist", "ab" * 32, 0, 500),
        TrainingConfig(threads=2),
        AutoencodeConfig("autoencode", "gaussian", 2.0),
        versions={"torch": "2"},
    )
    again = from_dict(RunConfig, json.loads(json.dumps(to_dict(config))), "file")
    assert again == config


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (TrainingConfig, {"lr": "fast"}, "file: lr: expected a number, got 'fast'"),
        (TrainingConfig, {"epochs": 2.5}, "file: epochs: expected a whole number, got 2.5"),
        (TrainingConfig, {"epochs": True}, "file: epochs: expected a whole number, got True"),
        (TrainingConfig, {"lr": float("nan")}, "file: lr: expected a learning rate above 0, got nan"),
        (TrainingConfig, {"lr": float("inf")}, "file: lr: expected a learning rate above 0, got inf"),
        (TrainingConfig, {"gamma": 1.5, "decay": "gamma"}, "file: gamma: expected 0 to 1, got 1.5"),
        (TrainingConfig, {"weight_decay": -1}, "file: weight_decay: expected 0 or more, got -1"),
        (
            TrainingConfig,
            {"seed": -1},
            "file: seed: expected a whole number from 0 to 9,223,372,036,854,775,807, got -1",
        ),
        (TrainingConfig, {"epoch": 1}, "file: unknown key 'epoch'; did you mean 'epochs'?"),
        (TrainingConfig, [1], "file: expected an object of epochs, "),
        (TrainingConfig, {"threads": 10**8}, "file: threads: expected 1 to 1024, got 100000000"),
        (Fit, {"height": 8, "width": 8}, "file: expected a key 'channels', but there is none"),
        (
            Fit,
            {"height": 8, "width": 8, "channels": 1, "range": [0]},
            "range: expected a list",
        ),
        (DeepConvConfig, {"channels": []}, "channels: expected 1 to 6 numbers, got ()"),
        (DeepConvConfig, {"channels": [8, 0]}, "channels: expected 1 to 65536, got 0"),
        (DeepConvConfig, {"kernels": [1]}, "kernels: expected 2 to 11"),
        (DeepConvConfig, {"kernels": [3, 3, 3]}, "kernels: expected 1 or 2 numbers, as there are stages"),
        (DeepConvConfig, {"hidden": 10**9}, "hidden: expected 1 to 65536, got 1000000000"),
        (DeepConvConfig, {"activation": "os.system"}, "activation: expected"),
        (RunConfig, RUN | {"network": {"name": "resnet"}}, "network: unknown name 'resnet'; expected one of"),
        (RunConfig, RUN | {"network": {"latent": 2}}, "network: expected an object with a name"),
        (RunConfig, RUN | {"task": {"name": "autoencode", "beta": -1.0}}, "beta: expected 0 or more, got -1"),
        (RunConfig, RUN | {"kind": "search"}, "kind: expected one of run, got 'search'"),
        (ConvVAEConfig, {"latent": 0}, "latent: expected 1 to 65536, got 0"),
        (Fit, {"height": 8, "width": 8, "channels": 2}, "image.channels: expected 1 or 3, got 2"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(cls, values, message):
    with pytest.raises(ConfigError) as caught:
        from_dict(cls, values, "file")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hints_name_the_near_or_all():
    assert did_you_mean("bacth", ["batch", "rate"]) == "did you mean 'batch'?"
    assert did_you_mean("zzz", ["batch", "rate"]) == "expected one of batch, rate"


@pytest.mark.parametrize(
    ("kernels", "strides"), [((5, 3), (4, 3)), ((2, 6), (1, 5)), ((4,), (4, 2)), ((3, 5), (3,)), ((6,), (5,))]
)
def test_a_stride_is_held_against_its_own_kernel(kernels, strides):
    config = DeepConvConfig(kernels=kernels, strides=strides)
    assert DeepConvVAE((1, 60, 60), config).encode(torch.rand(2, 1, 60, 60)).mu.shape == (2, 20)
    with pytest.raises(ConfigError, match=rf"network.strides: expected 1 to its own kernel's {kernels[0]}"):
        DeepConvConfig(kernels=kernels, strides=(kernels[0] + 1, 1))
