"""Classic filters beside a denoiser."""

import pytest
import torch
from skimage import data
from skimage.metrics import peak_signal_noise_ratio
from skimage.restoration import denoise_tv_chambolle

import safelight
from safelight.data.corruption import Corruption
from safelight.reporting.diagnosis import diagnose
from safelight.reporting.summary import summarize
from safelight.tasks.classic import FILTERS, ClassicFilter, best_filter
from safelight.tasks.fidelity import psnr


def patches(corrupt: str) -> tuple[torch.Tensor, torch.Tensor]:
    photograph = torch.from_numpy(data.camera() / 255).float()
    true = photograph.unfold(0, 64, 64).unfold(1, 64, 64).reshape(-1, 1, 64, 64)
    return Corruption(corrupt)(true, torch.Generator().manual_seed(0)), true


@pytest.mark.parametrize("name", FILTERS)
def test_each_filter_cleans(name):
    noisy, true = patches("gaussian:0.1")
    best = max(psnr(ClassicFilter(name, s)(noisy[:16]), true[:16]).mean() for s in FILTERS[name][1])
    assert best > psnr(noisy[:16], true[:16]).mean() + 3


def test_a_filter_is_the_librarys_and_the_best_is_best():
    noisy, true = patches("gaussian:0.1")
    found = best_filter(noisy, true)
    assert found.name in ("total variation", "non-local means")
    score = psnr(found(noisy), true).mean()
    assert score >= psnr(ClassicFilter("median", 3)(noisy), true).mean() + 1
    expected = denoise_tv_chambolle(noisy[5, 0].double().numpy(), 0.1)
    own = psnr(ClassicFilter("total variation", 1.0)(noisy[5:6]), true[5:6]).item()
    assert own == pytest.approx(peak_signal_noise_ratio(true[5, 0].numpy(), expected, data_range=1), abs=0.3)
    assert best_filter(*patches("salt-and-pepper:0.1")).name == "median"


def test_an_evaluation_and_a_report_say_when_a_filter_is_ahead(tmp_path, capsys):
    _, true = patches("gaussian:0")
    tiles = true.unfold(2, 16, 16).unfold(3, 16, 16).reshape(-1, 1, 16, 16)[:400]
    settings = {"task": "denoise", "corrupt": "gaussian:0.1", "channels": (8, 16), "heads": 2, "threads": 1}
    run = safelight.train(tiles.numpy(), "denoising-unet", tmp_path / "run", epochs=1, **settings)
    measures = run.evaluate("test", images=tiles.numpy())
    assert measures["classic_psnr"] > measures["psnr_beside_classic"] == pytest.approx(measures["psnr"])
    assert measures["classic_filter"].split(" (")[0] in FILTERS
    (words,) = [line for line in diagnose(summarize(run.folder)) if "classic" in line]
    assert words.startswith(f"A classic filter, {measures['classic_filter']}, cleans better: ")
    assert "PSNR, classic" in run.report().read_text(encoding="utf-8")
