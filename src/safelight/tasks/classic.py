"""Classic filters at their best: what any denoiser should be ahead of."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.tasks.fidelity import psnr

__all__ = ["FILTERS", "ClassicFilter", "best_filter", "tried_count"]

# What every filter is tried on at every setting, at most: a second or two, of small images too.
TRIED_PIXELS, TRIED_IMAGES = 1 << 16, 96

# A filter of one channel, (H, W), given a setting and the image's noise; and the settings to choose from.
FILTERS: dict[str, tuple[Callable[[NDArray[Any], float, float], Any], tuple[float, ...]]] = {
    "median": (lambda x, side, noise: _ndimage().median_filter(x, int(side)), (3, 5)),
    "Gaussian blur": (
        lambda x, sigma, noise: _ndimage().gaussian_filter(x, sigma),
        (0.4, 0.6, 0.8, 1, 1.4, 2),
    ),
    "total variation": (
        lambda x, share, noise: _restoration().denoise_tv_chambolle(x, share * noise),
        (0.5, 0.8, 1.2, 1.8, 2.4),
    ),
    "wavelets": (
        lambda x, share, noise: _restoration().denoise_wavelet(x, share * noise),
        (0.4, 0.7, 1, 1.4),
    ),
    "non-local means": (
        lambda x, share, noise: _restoration().denoise_nl_means(x, 5, 6, share * noise, sigma=noise),
        (0.5, 0.8, 1.1),
    ),
}


@dataclass(frozen=True)
class ClassicFilter:
    """One of `FILTERS` at a setting.

    Attributes:
        name: which.
        setting: what it means to the filter: a side or a deviation in pixels, or a share of the noise.
    """

    name: str
    setting: float

    def __str__(self) -> str:
        return f"{self.name} ({self.setting:g})"

    def __call__(self, images: Tensor) -> Tensor:
        """Noisy images (N, C, H, W) in [0, 1] to filtered ones, each channel by itself.

        Example:
            >>> import torch
            >>> noisy = torch.rand(2, 3, 16, 16)
            >>> bool(ClassicFilter("Gaussian blur", 1)(noisy).std() < noisy.std())
            True
        """
        function, _ = FILTERS[self.name]
        planes = images.cpu().double().flatten(0, 1).numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyWavelets says of small images that levels have no inside
            found = [function(plane, self.setting, max(_noise(plane), 1e-3)) for plane in planes]
        return torch.from_numpy(np.stack(found)).float().view(images.shape).clamp(0, 1).to(images.device)


def tried_count(values: int) -> int:
    """How many images of so many values every filter is tried on."""
    return max(1, min(TRIED_IMAGES, TRIED_PIXELS // values))


def best_filter(noisy: Tensor, true: Tensor) -> ClassicFilter:
    """The filter and setting that bring noisy images nearest to the true ones, by mean PSNR.

    Args:
        noisy: (N, C, H, W) in [0, 1], of which the first few are tried.
        true: the same images as they should be.

    Example:
        >>> import torch
        >>> true = torch.zeros(4, 1, 16, 16)
        >>> best_filter((torch.rand(true.shape) < 0.1).float(), true).name
        'median'
    """
    count = tried_count(noisy[0].numel())
    noisy, true = noisy[:count], true[:count]
    candidates = [ClassicFilter(name, s) for name, (_, settings) in FILTERS.items() for s in settings]
    return max(candidates, key=lambda candidate: psnr(candidate(noisy), true).mean().item())


def _noise(plane: NDArray[Any]) -> float:
    """The standard deviation of white noise, by what four neighbours do not have in common."""
    return float((plane[:-1, :-1] - plane[:-1, 1:] - plane[1:, :-1] + plane[1:, 1:]).std() / 2)


def _ndimage() -> Any:
    import scipy.ndimage  # slow to import

    return scipy.ndimage


def _restoration() -> Any:
    import skimage.restoration

    return skimage.restoration
