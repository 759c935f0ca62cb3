import numpy as np
import pytest
import torch
from torch import nn

from safelight.config.network import ConvVAEConfig, DeepConvConfig
from safelight.errors import ConfigError, RunError
from safelight.latent.export import export_onnx
from safelight.networks.base import Autoencoder, Code
from safelight.networks.conv_vae import ConvVAE
from safelight.networks.deep_conv import DeepConvAE, DeepConvVAE

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

NETWORKS = {
    "conv-vae": (ConvVAE, (1, 8, 8), ConvVAEConfig(channels=4)),
    "deep-conv-vae": (DeepConvVAE, (1, 8, 8), DeepConvConfig(channels=(4, 8), hidden=16, latent=2)),
    "deep-conv-ae in colour": (
        DeepConvAE,
        (3, 13, 10),
        DeepConvConfig("deep-conv-ae", channels=(4, 8), hidden=16, normalization="batch"),
    ),
    "groups": (DeepConvVAE, (1, 8, 8), DeepConvConfig(channels=(8,), normalization="group")),
}


@pytest.mark.parametrize(
    "name",
    [*list(NETWORKS)[::2], *(pytest.param(name, marks=pytest.mark.slow) for name in list(NETWORKS)[1::2])],
)
def test_onnx_equals_torch_for_any_batch(name, tmp_path):
    kind, shape, config = NETWORKS[name]
    torch.manual_seed(0)
    network = kind(shape, config)
    network(torch.rand(8, *shape))  # in training mode: statistics of a batch normalization
    before = network.training
    export_onnx(network, shape, (-3, 200), tmp_path)
    assert network.training == before, "left as it was"
    network.eval()
    encoder, decoder = (onnxruntime.InferenceSession(tmp_path / f"{n}coder.onnx") for n in ("en", "de"))
    for count in (1, 7):
        x = torch.rand(count, *shape)
        pixels = (x * 203 - 3).numpy()
        with torch.no_grad():
            mu, logvar = network.encode(x)
            again = torch.sigmoid(network.decode(mu)).numpy()
        codes = encoder.run(None, {"pixels": pixels})
        assert [output.name for output in encoder.get_outputs()] == ["mu", "logvar"][: len(codes)]
        assert (logvar is None) == (len(codes) == 1)
        np.testing.assert_allclose(codes[0], mu, atol=1e-4)
        if logvar is not None:
            np.testing.assert_allclose(codes[1], logvar, atol=1e-4)
        decoded = decoder.run(["pixels"], {"z": codes[0]})[0]
        np.testing.assert_allclose((decoded + 3) / 203, again, atol=1e-4)


def test_nothing_is_overwritten_unasked(tmp_path):
    network = DeepConvVAE((1, 8, 8))
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(RunError, match=r"README.md is there already; replace it with --overwrite"):
        export_onnx(network, (1, 8, 8), (0, 16), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(RunError, match="is a link or a file"):
        export_onnx(network, (1, 8, 8), (0, 16), tmp_path / "link")


class Strange(Autoencoder):
    """A network that no graph can hold."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 64))

    def encode(self, x):
        return Code(x.flatten(1) @ self.weight.T, None)

    def decode(self, z):
        images = (z @ self.weight).view(-1, 1, 8, 8)
        return images if float(images.sum()) > 0 else -images


def test_a_network_that_onnx_has_no_form_for_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="ONNX has no form for this network"):
        export_onnx(Strange(), (1, 8, 8), (0, 16), tmp_path / "networks")
    assert not list((tmp_path / "networks").glob("*"))
