"""What once ended in a traceback, with others of the same kinds."""

import os
import subprocess
import sys

import numpy as np
import pytest

import safelight
from safelight.config.network import NETWORK_CONFIGS
from safelight.config.task import TASK_CONFIGS, Measure
from safelight.errors import ConfigError, RunError
from safelight.evolution.charts import population_chart
from safelight.reporting.charts import LIGHT, new_figure, render
from safelight.reporting.class_charts import Confusion, confusion_chart

TASKS = [*((name, {}) for name in TASK_CONFIGS), ("denoise", {"self_supervised": True})]


AUTOENCODERS = ("autoencode", "denoise")
OF = {  # what each network can be trained for
    "deep-conv-vae": AUTOENCODERS,
    "deep-conv-ae": AUTOENCODERS,
    "conv-vae": AUTOENCODERS,
    "denoising-unet": ("denoise",),
    "classifier": ("classify",),
}


@pytest.mark.parametrize(("task", "settings"), TASKS)
@pytest.mark.parametrize("network", [name for name in NETWORK_CONFIGS if name != "fine-tuned"])
def test_any_network_and_task_go_together_or_are_refused(network, task, settings, digits, tmp_path):
    images = digits.subset(slice(20))
    settings = settings | {"task": task, "epochs": 1, "batch_size": 10, "threads": 1}
    if task in OF[network]:
        run = safelight.train(images, network, tmp_path / "run", **settings)
        assert np.isfinite(run.history[0]["train"]["loss"])
        return
    with pytest.raises(ConfigError, match=r"expected .*got [^\n]*$"):
        safelight.train(images, network, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def runs(tmp_path_factory, digits):
    folder = tmp_path_factory.mktemp("runs")
    options = {"epochs": 1, "threads": 1, "limit": 40}
    kinds = {
        "unet": ("denoising-unet", "denoise"),
        "vae": ("conv-vae", "autoencode"),
        "classifier": ("classifier", "classify"),
    }
    for name, (network, task) in kinds.items():
        safelight.train("digits", network, folder / name, task=task, **options)
    small = safelight.ImageSet(np.zeros((20, 1, 12, 12), np.uint8), labels=np.arange(20) % 10)
    safelight.train(small, "classifier", folder / "other-size", task="classify", epochs=1, threads=1)
    unlabelled = safelight.ImageSet(np.zeros((30, 1, 8, 8), np.uint8))
    np.save(folder / "unlabelled.npy", unlabelled.pixels)
    safelight.train(
        folder / "unlabelled.npy", "denoising-unet", folder / "blank", task="denoise", epochs=1, threads=1
    )
    return folder


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        ("vae", "judge: expected a run of a classifier, got one to autoencode"),
        ("unet", "judge: expected a run of a classifier, got one to denoise"),
        ("other-size", r"expected images of \(1, 12, 12\)"),
    ],
)
def test_a_judge_that_cannot_read_is_refused(judge, words, runs):
    with pytest.raises((ConfigError, RunError), match=words):
        safelight.Run(runs / "unet").evaluate("validation", judge=str(runs / judge))


def test_a_judge_of_samples_reads_images_of_their_size(runs, command):
    done = command("sample", runs / "vae", "--judge", runs / "other-size")
    assert done.returncode == 2
    assert "expected images of (1, 12, 12)" in done.stderr


def test_a_judge_without_labels_to_read_is_refused(runs):
    with pytest.raises(ConfigError, match="judge: expected images of classes that it tells, got none"):
        safelight.Run(runs / "blank").evaluate("validation", judge=str(runs / "classifier"))


@pytest.mark.parametrize("name", ["$5_$10", "a$b", "$", r"\frac{", "_x_", "^", r"$\alpha$"])
def test_a_charts_text_is_never_markup(name):
    """Drawn as it is: the picture differs from that of the formula, and nothing is raised."""
    confusion = Confusion((name, "other"), np.array([[3, 1], [0, 4]]))
    assert render(confusion_chart(confusion, LIGHT)).startswith(b"\x89PNG")
    assert render(population_chart([[1.0, 2.0]], Measure("loss", name), LIGHT)).startswith(b"\x89PNG")


def test_a_formula_is_drawn_letter_by_letter():
    def drawn(text, **options):
        figure, axes = new_figure(LIGHT)
        axes.set_xticks([0.5], [text])
        axes.set_title(text)
        axes.text(0.5, 0.5, text, **options)
        return render(figure)

    assert drawn("$x$") == drawn("$x$", parse_math=False)
    figure, axes = new_figure(LIGHT)
    axes.set_title("$5_$10")
    with pytest.raises(ValueError, match="Parse"):
        figure.canvas.draw()  # as matplotlib itself would take it


UMAP = """
import numpy as np
from numba.core import caching
caching.{cache}._locator_classes = [caching.{own}]  # neither the package's folder nor the user's
from safelight.config.latent import MapConfig
from safelight.latent.maps import _umap
x = np.random.default_rng(0).normal(size=(12, 3))
print(_umap(x, MapConfig(method="umap", neighbours=3), None)[0].shape)
"""


@pytest.mark.slow
def test_umap_needs_no_folder_that_can_be_written():
    from numba.core import caching

    names = {name.lstrip("_"): name for name in vars(caching)}
    script = UMAP.format(cache=names["CacheImpl"], own=names["UserProvidedCacheLocator"])
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout == "(12, 2)\n", done.stderr[-500:]
