"""The picture of a training under way."""

import pytest
from PIL import Image

import safelight
from safelight.runs import recorder

SETTINGS = {"batch_size": 16, "epochs": 2, "threads": 1}
UNET = {"network": "denoising-unet", "task": "denoise", "self_supervised": True}


def drawn_at(path, **settings):
    """After which steps of the training the preview was another."""
    seen = []

    def on_step(progress):
        if progress.preview:
            Image.open(progress.preview).load()  # whole, while it trains
            written = progress.preview.stat().st_mtime_ns
            if not seen or seen[-1][1] != written:
                seen.append(((progress.epoch - 1) * progress.steps + progress.step, written))

    run = safelight.train("digits", out=path, on_step=on_step, **SETTINGS | settings)
    return run, [step for step, _ in seen]


@pytest.mark.parametrize(
    "settings", [{"channels": (8,), "hidden": 16}, {"channels": (4, 8), "limit": 900, **UNET}]
)
def test_the_preview_comes_by_steps_and_changes_no_bit(settings, tmp_path, monkeypatch):
    run, steps = drawn_at(tmp_path / "with", **settings)
    an_epoch = -(-settings.get("limit", len(run.images("train"))) // SETTINGS["batch_size"])
    assert steps == [50, an_epoch + 1, 100]  # the first after an epoch shows what was drawn at its end
    monkeypatch.setattr(recorder, "PREVIEW_STEP", 10**9)
    other, steps = drawn_at(tmp_path / "without", **settings)
    assert steps == [an_epoch + 1]
    for name in ("model.safetensors", "best.safetensors"):
        assert (run.path / name).read_bytes() == (other.path / name).read_bytes()
    assert [r["train"] for r in run.history] == [r["train"] for r in other.history]
    last = sorted((run.path / "figures/epochs").glob("*-0002.png"))
    assert (run.path / "preview.png").read_bytes() in [path.read_bytes() for path in last]


def test_the_command_says_once_where_the_preview_is(command):
    said = command("train", "digits", "--out", "run", "--epochs", 3, "--limit", 300, "--threads", 1)
    assert said.returncode == 0
    assert said.stderr.count("run/preview.png") == 1
