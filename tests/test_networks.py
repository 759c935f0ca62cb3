import dataclasses

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from safelight.config.data import Fit
from safelight.config.network import NETWORK_CONFIGS, ConvVAEConfig, DeepConvConfig, FineTunedConfig
from safelight.data.batches import Batch
from safelight.errors import ConfigError
from safelight.networks.base import Autoencoder, ImageNetwork
from safelight.networks.conv_vae import ConvVAE
from safelight.networks.deep_conv import DeepConvAE, DeepConvVAE
from safelight.networks.table import NETWORKS, build
from safelight.tasks.classify import CrossEntropy
from safelight.tasks.denoise import DenoisingLoss
from safelight.tasks.objective import Bernoulli, NegativeELBO

BLUEPRINT = """\
ConvVAE(
  (conv): Conv2d(1, 32, kernel_size=(3, 3), stride=(1, 1))
  (fc21): Linear(in_features=21632, out_features=20, bias=True)
  (fc22): Linear(in_features=21632, out_features=20, bias=True)
  (fc3): Linear(in_features=20, out_features=21632, bias=True)
  (t_conv): ConvTranspose2d(32, 1, kernel_size=(3, 3), stride=(1, 1))
)"""
SHAPES = [(1, 8, 8), (3, 8, 13), (1, 28, 28), (3, 31, 32), (3, 128, 128)]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_network_keeps_the_contract(name, shape):
    torch.manual_seed(0)
    network = NETWORKS[name](shape, NETWORK_CONFIGS[name](name=name))
    x, labels, generator = torch.rand(2, *shape), torch.tensor([3, 7]), torch.Generator().manual_seed(0)
    loss: nn.Module = CrossEntropy()
    if isinstance(network, ImageNetwork):
        again = network.reconstruct(x)
        assert again.shape == x.shape
        assert 0 <= again.min() <= again.max() <= 1
        loss = DenoisingLoss(Bernoulli())
    else:
        assert network(x).shape == (2, 10)
        assert len(network.features(x)) == 2
    if isinstance(network, Autoencoder):
        assert network.decode(network.encode(x).mu).shape == x.shape
        loss = NegativeELBO(Bernoulli())
    loss(network, Batch(x, x, labels, torch.arange(2)), generator, 0.0)["loss"].backward()
    trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
    assert len(trained) == len(list(network.parameters())) or name == "fine-tuned"
    for parameter_name, parameter in trained.items():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name
    assert repr(network).startswith(type(network).__name__ + "(")


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_survive_the_file(name, tmp_path):
    config = NETWORK_CONFIGS[name](name=name)
    network, other = (NETWORKS[name]((1, 28, 28), config).eval() for _ in range(2))
    x = torch.rand(3, 1, 28, 28)
    assert not torch.equal(network(x), other(x))
    tensors = {k: t.contiguous() for k, t in network.state_dict().items()}
    safetensors.torch.save_file(tensors, tmp_path / "weights.safetensors")
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(network(x), other(x))


def test_a_fine_tuned_encoder_leaves_its_decoder_alone():
    network = NETWORKS["fine-tuned"]((1, 28, 28), FineTunedConfig(encoder=ConvVAEConfig()))
    frozen = {n.split(".")[1] for n, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"fc3", "t_conv"}


def test_conv_vae_is_the_original_reports_blueprint():
    network = ConvVAE()
    assert str(network) == BLUEPRINT
    assert {k.split(".")[0] for k in network.state_dict()} == {"conv", "fc21", "fc22", "fc3", "t_conv"}


def plain_forward(network: ConvVAE, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The blueprint in torch's own layers."""
    h = F.relu(network.conv(x)).flatten(1)
    mu, logvar = network.fc21(h), network.fc22(h)
    z = mu + noise * torch.exp(0.5 * logvar)
    maps = F.relu(network.fc3(z)).view(len(x), 32, x.shape[2] - 2, x.shape[3] - 2)
    return mu, logvar, network.t_conv(maps)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 12)], ids=str)
def test_tuned_operators_equal_the_plain_ones(shape):
    torch.manual_seed(1)
    network = ConvVAE(shape).double()
    x = torch.rand(5, *shape, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(5, 20, dtype=torch.float64)
    weights = torch.randn(5, *shape, dtype=torch.float64)

    def run(tuned: bool) -> list[torch.Tensor]:
        network.zero_grad()
        x.grad = None
        if tuned:
            mu, logvar = network.encode(x)
            logits = network.decode(mu + noise * torch.exp(0.5 * logvar))
        else:
            mu, logvar, logits = plain_forward(network, x, noise)
        ((logits * weights).sum() + mu.square().sum() + logvar.exp().sum()).backward()
        return [mu, logvar, logits, x.grad, *(p.grad.clone() for p in network.parameters())]

    for ours, plain in zip(run(tuned=True), run(tuned=False), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kernel", "strides"), [(2, (1, 2)), (4, (2,)), (5, (3, 1))])
def test_the_default_networks_last_layer_equals_torchs(shape, kernel, strides):
    torch.manual_seed(1)
    network = DeepConvVAE(shape, DeepConvConfig(kernels=(kernel,), strides=strides)).double()
    *before, last = network.stages.decoder
    maps = nn.Sequential(*before)(torch.randn(2, 20, dtype=torch.float64)).detach()
    results = []
    for layer in (last, last.t_conv):
        x = maps.clone().requires_grad_()
        network.zero_grad()
        image = layer(x)
        image.square().sum().backward()
        results.append([image, x.grad, *(p.grad.clone() for p in last.parameters())])
    assert results[0][0].shape == (2, *shape)
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10)


def test_bfloat16_stays_close_and_keeps_float32_weights():
    torch.manual_seed(1)
    network, x = ConvVAE(), torch.rand(8, 1, 28, 28)
    exact = network.reconstruct(x)
    with torch.autocast("cpu", torch.bfloat16):
        near = network.reconstruct(x)
        near.sum().backward()
    assert near.dtype == torch.float32
    assert 0 < (near - exact).abs().max() < 0.01  # bfloat16 has 8 bits of mantissa
    assert all(p.grad.dtype == torch.float32 for p in network.parameters() if p.grad is not None)


def test_the_twin_differs_only_in_its_code():
    variational, plain = DeepConvVAE(), DeepConvAE()
    x = torch.rand(2, 1, 28, 28)
    assert variational.encode(x).logvar.shape == (2, 20)
    assert plain.encode(x).logvar is None
    ours, theirs = (dict(n.stages.named_parameters()) for n in (variational, plain))
    differing = [k for k in ours if ours[k].shape != theirs[k].shape]
    assert differing == [k for k in ours if k.startswith("encoder.") and ours[k].shape[0] == 40]


def test_each_field_of_the_config_changes_the_network():
    base = repr(DeepConvVAE((1, 28, 28), DeepConvConfig()))
    changes = {
        "channels": (16, 64),
        "kernels": (3, 5),
        "strides": (2, 1),
        "hidden": 100,
        "latent": 7,
        "activation": "relu",
        "normalization": "batch",
        "linear_path": "pca",
    }
    assert {"name", *changes} == {f.name for f in dataclasses.fields(DeepConvConfig)}
    for name, value in changes.items():
        assert repr(DeepConvVAE((1, 28, 28), DeepConvConfig(**{name: value}))) != base, name
    assert "32" not in repr(ConvVAE((1, 28, 28), ConvVAEConfig(channels=5, latent=3)))


@pytest.mark.parametrize("name", NETWORKS)
def test_images_of_other_sizes_are_refused(name):
    size = 7 if name == "denoising-unet" else 513
    with pytest.raises(ConfigError, match=f"sides from 8 .*, got 1×{size}×28"):
        NETWORKS[name]((1, size, 28), NETWORK_CONFIGS[name](name=name))


def test_more_stages_than_the_image_has_halvings_are_refused():
    with pytest.raises(ConfigError, match="at most 3 stages for images of 8×8, got 4"):
        DeepConvVAE((1, 8, 8), DeepConvConfig(channels=(8, 8, 8, 8)))


def test_build_makes_the_network_that_the_settings_name():
    image = Fit(28, 28, 1)
    assert isinstance(build(DeepConvConfig(latent=3), image), DeepConvVAE)
    assert isinstance(build(DeepConvConfig("deep-conv-ae"), image), DeepConvAE)
    assert build(ConvVAEConfig(latent=3), image).fc21.out_features == 3


def test_the_settings_know_which_networks_are_variational():
    x = torch.rand(2, 1, 28, 28)
    for name, config in NETWORK_CONFIGS.items():
        network = build(config(name=name), Fit(28, 28, 1))
        if isinstance(network, Autoencoder):
            assert (network.encode(x).logvar is not None) == config(name=name).is_variational


def test_a_network_beyond_all_memory_is_refused_before_it_is_made():
    with pytest.raises(ConfigError, match="at most 268,435,456 parameters, got 1,0"):
        build(DeepConvConfig(channels=(65536, 65536), kernels=(11,)), Fit(28, 28, 1))


def test_abstract_networks_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        Autoencoder()
    assert issubclass(Autoencoder, nn.Module)
