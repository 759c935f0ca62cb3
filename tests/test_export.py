import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import safelight
from safelight.config.data import Fit
from safelight.config.network import ConvVAEConfig, DeepConvConfig, UNetConfig
from safelight.data.finding import as_image_set
from safelight.errors import ConfigError, RunError
from safelight.latent.export import export_onnx
from safelight.latent.manual import manual
from safelight.networks.base import Autoencoder, Code
from safelight.networks.conv_vae import ConvVAE
from safelight.networks.deep_conv import DeepConvAE, DeepConvVAE
from safelight.networks.unet import DenoisingUNet

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
    [name if "colour" in name else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS],
)
def test_onnx_equals_torch_for_any_batch(name, tmp_path):
    kind, shape, config = NETWORKS[name]
    torch.manual_seed(0)
    network = kind(shape, config)
    network(torch.rand(8, *shape))  # in training mode: statistics of a batch normalization
    if name == "deep-conv-ae in colour":  # codes up to thousands are not equal to four digits after the point
        with torch.no_grad():
            network.stages.encoder[-1].weight.mul_(1e4)
    before = network.training
    export_onnx(network, Fit(*shape[1:], shape[0], (-3, 200)), tmp_path)
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
        np.testing.assert_allclose(codes[0], mu, atol=1e-4 * float(mu.abs().max()))
        if logvar is not None:
            np.testing.assert_allclose(codes[1], logvar, atol=1e-4)
        decoded = decoder.run(["pixels"], {"z": mu.numpy()})[0]
        np.testing.assert_allclose((decoded + 3) / 203, again, atol=1e-4)


def test_nothing_is_overwritten_unasked(tmp_path):
    network = DeepConvVAE((1, 8, 8))
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(RunError, match=r"README.md is there already; replace it with --overwrite"):
        export_onnx(network, Fit(8, 8, 1, (0, 16)), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(RunError, match="is a link or a file"):
        export_onnx(network, Fit(8, 8, 1, (0, 16)), tmp_path / "link")


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
        export_onnx(Strange(), Fit(8, 8, 1, (0, 16)), tmp_path / "networks")
    assert not list((tmp_path / "networks").glob("*"))


def scripted(folder: Path, picture: Image.Image) -> dict[str, np.ndarray]:
    """What the README's lines find in a picture, where neither safelight nor torch can be imported."""
    picture.save(folder / "picture.png")
    script = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[1]
    assert len([line for line in script.splitlines() if line.strip()]) <= 15
    before = "import sys\nsys.modules.update(safelight=None, torch=None)\n"
    names = "{name: value for name, value in globals().items() if isinstance(value, np.ndarray)}"
    program = before + script + f"np.savez('found.npz', **{names})"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "found.npz"))


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """Not square, in colour, with something transparent."""
    x = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    x[..., 3] = np.maximum(x[..., 3], 128)
    return Image.fromarray(x).resize((70, 50))


@pytest.fixture(scope="module")
def classifier():
    digits = safelight.load("digits")
    labels = np.array(["cat", "dog"])[digits.labels[:300] % 2]
    return safelight.finetune(None, digits[:300], labels, supervised_only=True, epochs=1, threads=1)


def test_a_classifiers_files_and_readme_tell_what_the_run_does(classifier, photo, tmp_path):
    classifier.export(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"classifier.onnx", "fit.json", "README.md"}
    session = onnxruntime.InferenceSession(tmp_path / "classifier.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == ["cat", "dog"]
    assert json.loads(about["fit"]) == json.loads((tmp_path / "fit.json").read_text())
    images = safelight.load("digits", split="test")
    odd = np.random.default_rng(0).integers(0, 17, (20, 1, 8, 8)).astype(np.float32)
    for pixels in (images.pixels.astype(np.float32), odd):
        probabilities, unlikeness = session.run(None, {"pixels": pixels})
        expected = classifier.classify(safelight.ImageSet(pixels, (0, 16)))
        np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-4)
        np.testing.assert_array_equal(unlikeness > 1, expected.unlike)
    found = scripted(tmp_path, photo)
    expected = classifier.classify(str(tmp_path / "picture.png")).probabilities
    np.testing.assert_allclose(found["probabilities"], expected, atol=0.01)


@pytest.mark.parametrize("background", ["border", "#ff8000"])
@pytest.mark.parametrize("how", ["pad", "crop", "stretch", "tile"])
@pytest.mark.parametrize(("channels", "value_range"), [(1, (0, 255)), (3, (-1, 1)), (3, (0, 65535))])
def test_the_readme_makes_pixels_of_a_picture_as_the_run_does(
    how, background, channels, value_range, photo, tmp_path, monkeypatch
):
    fit = Fit(12, 20, channels, value_range, how, background)
    monkeypatch.chdir(tmp_path)
    for quarters in (0, 90):
        turned = photo.rotate(quarters, expand=True)
        turned.save("picture.png")
        script = re.search(r"```python\n(.*?)```", manual(fit, ["encoder.onnx", "decoder.onnx"]), re.S)[1]
        found: dict[str, np.ndarray] = {}
        exec("\n".join(script.splitlines()[:-2]), found)  # all but the networks
        if how == "tile":
            assert found["pixels"].shape == (1, *fit.shape)
            continue
        low, high = value_range
        expected = as_image_set("picture.png", fit).floats().numpy()
        np.testing.assert_allclose((found["pixels"] - low) / (high - low), expected, atol=2.5 / 255)


@pytest.mark.slow
def test_an_autoencoders_readme_needs_neither_safelight_nor_torch(photo, tmp_path):
    pictures = [photo.rotate(90 * i, expand=True) for i in range(12)]
    settings = {"channels": (4,), "hidden": 8, "latent": 2, "epochs": 1, "threads": 1}
    run = safelight.train(pictures, size=(12, 20), **settings)
    found = scripted(run.export(tmp_path), photo)
    np.testing.assert_allclose(found["mu"][0], run.encode(photo), atol=0.05)
    assert found["again"].shape == found["pixels"].shape == (1, 3, 12, 20)


@pytest.mark.slow
def test_a_u_net_cleans_pictures_of_any_size_without_torch(photo, tmp_path):
    torch.manual_seed(0)
    network = DenoisingUNet((3, 16, 24), UNetConfig(channels=(8, 16), heads=2)).eval()
    folder = export_onnx(network, Fit(16, 24, 3), tmp_path)
    found = scripted(folder, photo)
    assert found["clean"].shape == (1, 3, 50, 70)
    with torch.no_grad():
        expected = network.reconstruct(torch.from_numpy(found["pixels"]) / 255) * 255
    np.testing.assert_allclose(found["clean"], expected, atol=1e-2)
