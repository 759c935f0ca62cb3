import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import safelight
from safelight.config.data import DataConfig, Fit
from safelight.config.network import NETWORK_CONFIGS, DeepConvConfig
from safelight.config.run import RunConfig
from safelight.config.task import AutoencodeConfig, ClassifyConfig, DenoiseConfig
from safelight.config.training import TrainingConfig
from safelight.data.batches import Batches
from safelight.data.images import ImageSet
from safelight.errors import ConfigError, TrainingError
from safelight.machine import cpu_threads, derive_seed, pick_device
from safelight.networks.base import Autoencoder, Code
from safelight.networks.classifier import ENCODERS
from safelight.networks.conv_vae import ConvVAE
from safelight.networks.deep_conv import DeepConvVAE
from safelight.networks.table import NETWORKS
from safelight.runs.assembly import assemble
from safelight.runs.gradients import shorten
from safelight.runs.state import PackedState
from safelight.runs.training import fit, learning_rate
from safelight.tasks.objective import Bernoulli, NegativeELBO, objective

LOSSES = Path(__file__).parent / "losses"
SMALL = DeepConvConfig(channels=(8,), hidden=32, latent=4)


def train(digits: ImageSet, config: TrainingConfig, network=None, packed=None, loss=None, **callbacks):
    torch.manual_seed(0)
    network = network or DeepConvVAE(digits.shape, SMALL)
    results = []
    batches = Batches(digits, config.batch_size, config.seed)
    callbacks.setdefault("on_epoch", lambda result, state: results.append(result) and None)
    state = fit(network, batches, loss or objective(AutoencodeConfig()), config, packed=packed, **callbacks)
    return state, results


def weights(state) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in state.network.parameters()])


def test_adam_with_our_settings_is_adam_by_the_book(digits):
    """Kingma & Ba (2015), algorithm 1, with L2 and our schedule, in float64 NumPy."""

    class Constant(Autoencoder):
        def __init__(self):
            super().__init__()
            self.logit = nn.Parameter(torch.tensor(0.3))

        def encode(self, x):
            return Code(x.new_zeros(len(x), 1), None)

        def decode(self, z):
            return self.logit.expand(len(z), 1, 8, 8)

    config = TrainingConfig(
        epochs=3, batch_size=600, lr=0.05, weight_decay=0.5, decay="gamma", gamma=0.3, warmup=0.4
    )
    state, _ = train(digits, config, Constant())
    batches, theta, m, v, t = Batches(digits, 600, 0), 0.3, 0.0, 0.0, 0
    for epoch in range(3):
        for x in (batch.images for batch in batches.epoch(epoch)):
            pixels = x.double().numpy()
            gradient = 64 / (1 + math.exp(-theta)) - pixels.sum() / len(pixels) + 0.5 * theta
            rate = 0.05 * 0.3 ** (t / 9) * min(1, (t + 1) / (0.4 * 9))
            t += 1
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            theta -= rate * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
    assert state.network.logit.item() == pytest.approx(theta, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 3),
        ("batch_size", 100),
        ("lr", 1e-3),
        ("warmup", 0.5),
        ("decay", "gamma"),
        ("weight_decay", 0.01),
        ("seed", 1),
        ("precision", "bfloat16"),
    ],
)
def test_each_setting_changes_the_run(digits, name, value):
    base = TrainingConfig(epochs=2, batch_size=200)
    changed = dataclasses.replace(base, **{name: value})
    assert not torch.equal(weights(train(digits, base)[0]), weights(train(digits, changed)[0]))


def test_each_setting_of_the_loss_changes_the_run(digits):
    base = TrainingConfig(epochs=2, batch_size=200)
    runs = [
        weights(train(digits, base, loss=objective(AutoencodeConfig(**settings)))[0])
        for settings in (
            {},
            {"beta": 2.0},
            {"beta_warmup": 0.9},
            {"likelihood": "gaussian"},
            {"likelihood": "student"},
        )
    ]
    assert not any(torch.equal(a, b) for i, a in enumerate(runs) for b in runs[:i])


def test_gamma_changes_the_run_and_the_rate_is_the_one_used(digits):
    base = TrainingConfig(epochs=2, batch_size=200, decay="gamma")
    changed = dataclasses.replace(base, gamma=0.1)
    (one, _), (other, results) = train(digits, base), train(digits, changed)
    assert not torch.equal(weights(one), weights(other))
    assert results[-1].lr == learning_rate(changed, 17, 18) == other.optimizer.param_groups[0]["lr"]


def test_the_schedule_spans_the_whole_run():
    linear = TrainingConfig(lr=2.0, warmup=0.0)
    assert [learning_rate(linear, t, 4) for t in range(5)] == [2.0, 1.5, 1.0, 0.5, 0.0]
    gamma = TrainingConfig(lr=2.0, warmup=0.0, decay="gamma", gamma=0.01)
    for steps in (10, 1000):
        assert learning_rate(gamma, steps // 2, steps) == pytest.approx(0.2)
        assert learning_rate(gamma, steps, steps) == pytest.approx(0.02)
    warm = TrainingConfig(lr=1.0, warmup=0.1, decay="gamma")
    assert [learning_rate(warm, t, 100) for t in (0, 4, 9, 50)] == pytest.approx([0.1, 0.5, 1, 1])
    dead = TrainingConfig(decay="gamma", gamma=0.0, warmup=0.0)
    assert [learning_rate(dead, t, 10) for t in (0, 1)] == [dead.lr, 0.0]


def test_same_seed_same_bits(digits):
    config = TrainingConfig(epochs=2, batch_size=200)
    assert torch.equal(weights(train(digits, config)[0]), weights(train(digits, config)[0]))


class Dropping(Autoencoder):
    """A user's network with noise from torch's global generator, and with running statistics."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 8), nn.BatchNorm1d(8))
        self.up = nn.Linear(4, 64)

    def encode(self, x):
        return Code(*self.down(x).chunk(2, 1))

    def decode(self, z):
        return self.up(z).view(-1, 1, 8, 8)


@pytest.mark.parametrize(
    "make", [Dropping, lambda: DeepConvVAE((1, 8, 8), DeepConvConfig(normalization="batch"))]
)
@pytest.mark.parametrize("stop_at", [1, 7, 9, 13])
def test_a_packed_state_continues_to_the_same_bits(digits, make, stop_at):
    config = TrainingConfig(epochs=3, batch_size=200)
    torch.manual_seed(5)
    network = make()
    start = {k: t.clone() for k, t in network.state_dict().items()}
    straight, results = train(digits, config, network)

    network = make()
    network.load_state_dict(start)
    steps, packed = 0, None

    def pause(state):
        nonlocal steps, packed
        steps += 1
        if steps == stop_at:
            packed = state.pack()
        return steps == stop_at

    _, before = train(digits, config, network, on_step=pause)
    packed = PackedState.from_bytes(packed.to_bytes())
    torch.rand(3)  # whatever the process did meanwhile
    continued, after = train(digits, config, make(), packed=packed)

    for name, tensor in straight.network.state_dict().items():
        assert torch.equal(tensor, continued.network.state_dict()[name]), name
    assert [(r.terms, r.lr) for r in before + after] == [(r.terms, r.lr) for r in results]


def test_callbacks_can_stop(digits):
    config = TrainingConfig(epochs=5, batch_size=200)
    state, _ = train(digits, config, on_epoch=lambda result, state: result.epoch == 2)
    assert state.epoch == 2
    state, _ = train(digits, config, on_step=lambda state: state.step == 4)
    assert (state.epoch, state.step, state.images) == (0, 4, 800)


def test_a_loss_that_is_not_finite_stops_the_training(digits):
    network = DeepConvVAE(digits.shape, SMALL)
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) in epoch 1 .*lower --lr"):
        train(digits, TrainingConfig(lr=1e30, warmup=0.0, batch_size=200), network)

    class Broken(nn.Module):
        def forward(self, network, x, generator, progress):
            loss = NegativeELBO(Bernoulli())(network, x, generator)["loss"]
            return {"loss": loss * (math.nan if progress > 0.3 else 1)}

    network, steps = DeepConvVAE(digits.shape, SMALL), []
    config = TrainingConfig(epochs=5, batch_size=5)
    with pytest.raises(TrainingError, match=r"nan in epoch 2 .*; 1 finished epoch is kept; begin anew"):
        fit(network, Batches(digits, 5, 0), Broken(), config, on_step=lambda state: steps.append(state.step))
    assert len(steps) - 0.3 * 5 * 360 < 100  # and soon after


def test_training_leaves_the_callers_generator_alone(digits):
    torch.manual_seed(3)
    expected = torch.rand(2)
    network = DeepConvVAE(digits.shape, SMALL)
    torch.manual_seed(3)
    fit(network, Batches(digits, 200, 0), objective(AutoencodeConfig()), TrainingConfig(epochs=1))
    assert torch.equal(torch.rand(2), expected)


def test_seeds_for_each_purpose_differ():
    assert len({derive_seed(s, p) for s in range(50) for p in ("noise", "weights", "layers")}) == 150


def test_threads_are_set_for_the_block_alone():
    before = torch.get_num_threads()
    with cpu_threads(before + 1) as count:
        assert count == torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="expected a device that is there, got 'abacus'"):
        pick_device("abacus")


def assert_kept(name: str, losses: list[float]) -> None:
    """Other processors sum in another order, which moves the last digits of float32: six are compared."""
    expected = json.loads((LOSSES / f"{name}.json").read_text())["train_loss"]
    assert losses == pytest.approx(expected, rel=1e-6)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", ENCODERS)
def test_the_loss_curve_is_kept(digits, name):
    """A refactor must show the losses committed here; a change that means to alter them rewrites the file."""
    config = TrainingConfig(epochs=3, batch_size=64, lr=2e-3, seed=7)
    torch.manual_seed(7)
    network = NETWORKS[name](digits.shape, NETWORK_CONFIGS[name](name=name))
    _, results = train(digits, config, network, loss=objective(AutoencodeConfig(prior="normal")))
    assert_kept(name, [result.terms["loss"] for result in results])


@pytest.mark.parametrize(
    ("name", "network", "task"),
    [
        ("denoising-unet", "denoising-unet", DenoiseConfig(corrupt="gaussian:0..1")),
        ("classifier", "classifier", ClassifyConfig()),
        ("flow", "deep-conv-vae", AutoencodeConfig(prior="flow")),
    ],
)
def test_the_loss_curves_of_other_tasks_and_priors_are_kept(digits, name, network, task):
    training = TrainingConfig(epochs=3, batch_size=64, lr=2e-3, seed=7)
    image = Fit(8, 8, 1, (0, 16))
    config = RunConfig(NETWORK_CONFIGS[network](name=network), image, DataConfig(), training, task)
    parts, losses = assemble(config), []
    fit(
        parts.network,
        parts.batches(config, digits.subset(slice(640))),
        parts.loss,
        training,
        on_epoch=lambda result, state: losses.append(result.terms["loss"]),
    )
    assert_kept(name, losses)


def test_conv_vae_learns_as_its_plain_twin_does(digits):
    """The tuned operators under `fit` against torch's own layers in a loop written out."""
    config = TrainingConfig(epochs=2, batch_size=300, lr=1e-3)
    torch.manual_seed(2)
    network = ConvVAE(digits.shape)
    twin = ConvVAE(digits.shape)
    twin.load_state_dict(network.state_dict())
    train(digits, config, network)

    optimizer = torch.optim.Adam(twin.parameters())
    noise = torch.Generator().manual_seed(derive_seed(0, "noise"))
    batches, t = Batches(digits, 300, 0), 0
    for epoch in range(2):
        for x in (batch.images for batch in batches.epoch(epoch)):
            optimizer.param_groups[0]["lr"] = learning_rate(config, t, 12)
            t += 1
            h = torch.relu(twin.conv(x)).flatten(1)
            mu, logvar = twin.fc21(h), twin.fc22(h)
            z = mu + torch.randn(mu.shape, generator=noise) * (logvar / 2).exp()
            p = torch.sigmoid(twin.t_conv(torch.relu(twin.fc3(z)).view(-1, 32, 6, 6)))
            bce = nn.functional.binary_cross_entropy(p, x, reduction="sum")
            kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()
            optimizer.zero_grad()
            ((bce + kl) / len(x)).backward()
            optimizer.step()
    for ours, plain in zip(network.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), plain.detach().numpy(), atol=2e-4)


TASKS = {
    "autoencode": ("deep-conv-vae", {"channels": (4,), "hidden": 8}),
    "classify": ("classifier", {"channels": (4, 4, 4)}),
    "denoise": ("denoising-unet", {"channels": (4, 8), "attention": 0}),
    "denoise itself": ("denoising-unet", {"channels": (4, 8), "attention": 0, "self_supervised": True}),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_step_does_not_wait_for_the_device(task, monkeypatch):
    """On a GPU each number that is read of a tensor waits for all that was asked of it before."""
    reads, after_step = 0, []

    def counted(read):
        def reading(*arguments, **options):
            nonlocal reads
            reads += 1
            return read(*arguments, **options)

        return reading

    for name in ("item", "tolist", "numpy", "__float__", "__int__", "__bool__", "__index__"):
        monkeypatch.setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name)))
    network, settings = TASKS[task]
    safelight.train(
        "digits",
        network,
        task=task.split()[0],
        epochs=1,
        batch_size=6,
        threads=1,
        on_step=lambda progress: after_step.append(reads) and False,
        **settings,
    )
    assert len(after_step) == 240
    waiting = {step for step in range(2, 241) if after_step[step - 1] > after_step[step - 2]}
    assert waiting <= {50, 100, 200, 240}  # where the preview is drawn, and at the last


def test_progress_tells_the_mean_of_the_epoch_so_far():
    seen = []
    run = safelight.train(
        "digits",
        epochs=2,
        threads=1,
        channels=(4,),
        on_step=lambda progress: (
            seen.append((progress.epoch, progress.step, progress.steps, progress.loss)) and 0
        ),
    )
    assert [where[:3] for where in seen[22:24]] == [(1, 23, 23), (2, 1, 23)]
    assert [seen[22][3], seen[45][3]] == [record["train"]["loss"] for record in run.history]
    assert seen[0][3] > seen[10][3] > seen[22][3]


def test_a_sudden_gradient_is_shortened_and_no_other():
    weights = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(1))]

    def step(length, usual):
        for weight in weights[:2]:
            weight.grad = torch.full_like(weight, length / math.sqrt(7))
        usual = shorten(weights, usual)
        norm = math.sqrt(sum(float(weight.grad.square().sum()) for weight in weights[:2]))
        return norm, usual

    norm, usual = step(2.0, None)
    assert norm == pytest.approx(2)
    assert float(usual) == pytest.approx(2)
    kept = [weight.grad.clone() for weight in weights[:2]]
    step(2.0, usual)
    assert all(torch.equal(weight.grad, before) for weight, before in zip(weights, kept, strict=False))
    norm, after = step(1e10, usual)
    assert norm == pytest.approx(5 * 2, rel=1e-5), "five times what is usual"
    assert 2 < float(after) < 2.2, "and it is not taken for usual"
    assert step(1.0, torch.zeros(()))[0] == pytest.approx(1), "nothing is usual where nothing was"
    assert step(0.0, usual)[0] == 0
