"""Networks as strangers write them, settings that do not go together, and a torch that is set otherwise."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

import safelight
from safelight import api
from safelight.config.network import DeepConvConfig
from safelight.config.training import TrainingConfig
from safelight.data.batches import Batches
from safelight.data.images import ImageSet
from safelight.errors import ConfigError, RunError
from safelight.labels.training import features_of
from safelight.latent.codes import encode
from safelight.latent.sampling import nearest_images
from safelight.networks.base import Autoencoder, Code
from safelight.networks.deep_conv import DeepConvVAE
from safelight.runs.training import fit
from safelight.tasks.autoencode import evaluate, mean_loss
from safelight.tasks.objective import Bernoulli, Gaussian, NegativeELBO
from safelight.tasks.objective import _clamp as clamp
from safelight.tasks.priors import Normal
from safelight.tasks.sampling import latent_points

FAST = {"threads": 1, "batch_size": 60, "limit": 240, "lr": 3e-3}


class Awkward(Autoencoder):
    """Tied, frozen, unused, not contiguous, with buffers and dropout, and parts called as ours are."""

    def __init__(self):
        super().__init__()
        self.loss = nn.Linear(64, 8)
        self.network = nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.2))
        self.optimizer = nn.Linear(4, 8)
        self.tied = self.loss
        self.unused = nn.Linear(3, 3)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.strided = nn.Parameter(torch.randn(64, 8).t())
        self.register_buffer("generator", torch.ones(8))

    def encode(self, x):
        h = self.network(self.frozen(torch.relu(self.tied(x.flatten(1)))) * self.generator)
        return Code(*h.chunk(2, 1))

    def decode(self, z):
        return (torch.tanh(self.optimizer(z)) @ self.strided + self.loss.bias.sum()).view(-1, 1, 8, 8)


def same(one, other) -> bool:
    a, b = one.network.state_dict(), other.network.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_an_awkward_network_trains_resumes_and_loads(digits, tmp_path):
    whole = safelight.train("digits", Awkward, tmp_path / "a", epochs=3, **FAST)
    safelight.train("digits", Awkward, tmp_path / "b", epochs=3, on_epoch=lambda record: True, **FAST)
    continued = api.resume(tmp_path / "b", network=Awkward)
    assert same(whole, continued)
    images = digits.subset(slice(9))
    loaded = safelight.Run(tmp_path / "a", network=Awkward())
    assert np.array_equal(loaded.encode(images), whole.encode(images))
    assert loaded.network.loss is loaded.network.tied


def test_a_class_is_seeded_and_an_instance_is_copied(digits):
    settings = FAST | {"epochs": 1}
    torch.manual_seed(1)
    one = safelight.train("digits", Awkward, **settings)
    torch.manual_seed(2)
    assert same(one, safelight.train("digits", Awkward, **settings))
    assert not same(one, safelight.train("digits", Awkward, seed=1, **settings))
    mine = Awkward()
    before = copy.deepcopy(mine.state_dict())
    first = safelight.train("digits", mine, **settings)
    codes = first.encode(digits.subset(slice(5)))
    second = safelight.train("digits", mine, **(settings | {"lr": 0.1}))
    assert not same(first, second)
    assert np.array_equal(first.encode(digits.subset(slice(5))), codes)
    assert all(torch.equal(tensor, before[name]) for name, tensor in mine.state_dict().items())


def test_trainings_beside_each_other_agree():
    def train(seed):
        return safelight.train("digits", Awkward, epochs=2, seed=seed, **FAST)

    alone = [train(0), train(1)]
    with ThreadPoolExecutor(4) as threads:
        beside = list(threads.map(train, [0, 1, 0, 1]))
    assert all(same(run, alone[i % 2]) for i, run in enumerate(beside))


def test_a_callers_torch_changes_nothing_and_is_left_alone():
    usual = safelight.train("digits", latent=4, channels=(8,), epochs=1, **FAST)
    cudnn = torch.backends.cudnn
    seen = []

    def look(progress):
        seen.append((torch.get_default_dtype(), cudnn.enabled, cudnn.benchmark, cudnn.deterministic))
        torch.rand(7)  # a callback's draws are no part of the training

    torch.set_default_dtype(torch.float64)
    cudnn.benchmark = True
    try:
        with torch.inference_mode():
            run = safelight.train("digits", latent=4, channels=(8,), epochs=1, on_step=look, **FAST)
        assert run.sample(2).dtype == np.float32
        assert set(seen) == {(torch.float64, cudnn.enabled, True, False)}
    finally:
        torch.set_default_dtype(torch.float32)
        cudnn.benchmark = False
    assert same(usual, run)


def test_a_step_changes_of_cudnn_what_it_must_and_nothing_else(digits):
    cudnn, seen = torch.backends.cudnn, []
    names = ("enabled", "allow_tf32", "benchmark_limit", "deterministic", "benchmark")
    own = [getattr(cudnn, name) for name in names]

    class Looking(nn.Module):
        def forward(self, network, batch, generator, progress):
            seen.append([getattr(cudnn, name) for name in names])
            return {"loss": network(batch.inputs).mean()}

    config = TrainingConfig(epochs=1, batch_size=600)
    fit(DeepConvVAE(digits.shape, DeepConvConfig(channels=(4,))), Batches(digits, 600, 0), Looking(), config)
    assert seen[0] == [*own[:3], True, False]
    assert [getattr(cudnn, name) for name in names] == own


class Bare(Awkward):
    def encode(self, x):
        return tuple(super().encode(x))


class Empty(Autoencoder):
    def encode(self, x):
        return Code(x.flatten(1), None)

    def decode(self, z):
        return z.view(-1, 1, 8, 8)


@pytest.mark.parametrize(
    ("network", "settings", "words"),
    [
        (Bare(), {}, r"expected encode to give safelight\.Code\(mu, logvar or None\), got tuple"),
        (Empty(), {}, "expected a network with weights to train, got Empty with none"),
        (Awkward().double(), {}, "the network does not take images"),
        (Awkward(), {"batch_size": 1}, "cannot be trained on 1 images .* change .* the batch size"),
        ("deep-conv-vae", {"normalization": "batch", "batch_size": 1}, "cannot be trained on 1 images"),
        ("deep-conv-vae", {"normalization": "group", "hidden": 2}, "hidden: expected at least 4"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(network, settings, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        safelight.train("digits", network, tmp_path / "a", epochs=1, **(FAST | settings))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("hidden", [4, 8, 16, 20])
def test_group_normalization_leaves_the_code_alive(digits, hidden):
    config = DeepConvConfig(channels=(8,), hidden=hidden, normalization="group")
    torch.manual_seed(0)
    network = DeepConvVAE(digits.shape, config).train()
    hidden_values = network.stages.encoder[:-2](digits.floats(slice(50)))  # behind the last normalization
    assert hidden_values.round(decimals=2).unique(dim=0).shape[0] > 40
    assert len(network.encode(digits.floats(slice(1))).mu) == 1


def test_a_clamp_leads_back_and_holds():
    x = torch.tensor([-9.0, -9.0, 0.5, 9.0, 9.0], requires_grad=True)
    y = clamp(x, -6.0, 6.0)
    assert y.tolist() == [-6.0, -6.0, 0.5, 6.0, 6.0]
    y.backward(torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]))  # a step goes against the gradient
    assert x.grad.tolist() == [0.0, -1.0, 1.0, 1.0, 0.0]


def test_a_likelihood_of_images_without_any_error_stays_finite():
    likelihood, images = Gaussian(), torch.full((8, 1, 8, 8), 0.5)
    assert likelihood.log_prob(torch.zeros(8, 1, 8, 8), images).isfinite().all()
    for _ in range(200):
        likelihood.log_prob(torch.zeros(8, 1, 8, 8), images)
    assert likelihood.eval().log_prob(torch.zeros(8, 1, 8, 8), images + 0.1).isfinite().all()


def test_points_take_no_more_memory_than_a_chunk(digits):
    """A variational network looks at a few images; a deterministic one at all of them, some at a time."""
    sizes = []

    class Counting(Awkward):
        def encode(self, x):
            sizes.append(len(x))
            code = super().encode(x)
            return code if self.is_variational else Code(code.mu, None)

    network = Counting().eval()
    for network.is_variational, images in ((True, 100), (False, 1797)):
        sizes.clear()
        assert latent_points(network, Normal(), 3, digits).shape == (3, 4)
        assert sum(sizes) == images
        assert max(sizes) <= 100


def test_a_run_that_patience_stopped_is_not_extended_in_silence(tmp_path):
    settings = FAST | {"lr": 1e-30, "patience": 1, "channels": (4,), "likelihood": "bernoulli"}
    run = safelight.train("digits", out=tmp_path / "a", epochs=9, **settings)
    assert len(run.history) == 2, "no weight notices such a rate"
    config = (tmp_path / "a" / "config.json").read_bytes()
    with pytest.raises(RunError, match="stopped by its patience of 1 after 2 epochs"):
        api.resume(tmp_path / "a", epochs=20)
    assert (tmp_path / "a" / "config.json").read_bytes() == config
    assert len(api.resume(tmp_path / "a").history) == 2


class Counting(Autoencoder):
    """Says how many images went through it at a time, each way."""

    def __init__(self):
        super().__init__()
        self.encoded, self.decoded = [], []
        self.weight = nn.Parameter(torch.ones(()))

    def encode(self, x):
        self.encoded.append(len(x))
        means = self.weight * x.mean((2, 3))
        return Code(means, means - 1)

    def decode(self, z):
        self.decoded.append(len(z))
        return z[:, :, None, None].expand(-1, -1, 128, 128)


def test_no_more_large_images_go_through_a_network_than_are_a_few_megabytes():
    """Of 128×128×3, at most 42 are 8 MB of floats."""
    pixels = np.arange(100, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 128, 128), np.uint8)
    images, network = ImageSet(pixels), Counting().eval()
    assert [images.pixels[chunk][:, 0, 0, 0].tolist() for chunk in images.chunks()] == [
        list(range(42)),
        list(range(42, 84)),
        list(range(84, 100)),
    ]
    means = np.arange(100) / 255
    codes = encode(network, Bernoulli(), images)
    np.testing.assert_allclose(codes.mu, means[:, None].repeat(3, 1), atol=1e-6)
    np.testing.assert_allclose(codes.logvar, codes.mu - 1, atol=1e-6)
    np.testing.assert_allclose(features_of(network, images), codes.mu)
    cross_entropy = means * means - np.logaddexp(0, means)  # of one value of a pixel
    np.testing.assert_allclose(codes.reconstruction, -3 * 128**2 * cross_entropy, rtol=1e-4)
    measured = evaluate(network, Bernoulli(), images, samples=2)
    assert measured["loss_at_mean"] - measured["kl"] == pytest.approx(codes.reconstruction.mean(), rel=1e-5)
    mean_loss(network, NegativeELBO(Bernoulli()), images)
    places, distances = nearest_images(images.floats([99, 7]).numpy(), images)
    assert (places.tolist(), distances.tolist()) == ([99, 7], [0, 0])
    assert max(network.encoded + network.decoded) == 42
    assert sum(network.encoded) == 6 * 100


def test_a_runs_arrays_and_samples_go_through_in_parts_too():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 128, 128, 3)).astype(np.uint8)
    run = safelight.train(pixels, Counting, epochs=1, threads=1, batch_size=8)
    network = run.network
    network.encoded.clear()
    network.decoded.clear()
    assert run.encode(pixels).shape == (60, 3)
    assert run.reconstruct(pixels).shape == (60, 3, 128, 128)
    parts = list(run.sample_parts(50, seed=3))
    assert [len(part) for part in parts] == [42, 8]
    assert np.array_equal(np.concatenate(parts), run.sample(50, seed=3))
    assert max(network.encoded + network.decoded) == 42
