"""How cleaning fares as what images suffer grows, also of kinds that no training showed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from safelight.config.corruption import CORRUPTIONS
from safelight.data.batches import Batch
from safelight.data.corruption import Corruption
from safelight.data.images import ImageSet
from safelight.machine import derive_seed
from safelight.networks.base import ImageNetwork, device_of
from safelight.networks.tiling import clean
from safelight.tasks.fidelity import psnr

__all__ = ["corrupted_batches", "severity_curves"]

CURVE_IMAGES = 200


def corrupted_batches(images: ImageSet, corruption: Corruption | None, device: str) -> Iterator[Batch]:
    """Images in order, with noise that is always the same.

    Args:
        images: all of which are served.
        corruption: what the inputs suffer, or None.
        device: where the batches go.
    """
    generator = torch.Generator(device).manual_seed(derive_seed(0, "corruption"))
    for chunk in images.chunks():
        batch = Batch.of(images, chunk, device)
        if corruption is not None:
            inputs = corruption(batch.images, generator)
            batch = replace(batch, inputs=inputs)
        yield batch


def severity_curves(
    network: ImageNetwork, images: ImageSet, precision: str, trained_on: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """PSNR before and after cleaning, by kind of corruption and severity.

    Args:
        network: in evaluation mode.
        images: of which the first 200 are used.
        precision: as in `clean`.
        trained_on: kinds of corruption.

    Returns:
        By names of `CORRUPTIONS`: lists of "severity", "psnr" and "psnr_noisy", and whether it was
        "trained" on.
    """
    device = device_of(network)
    part = images.subset(slice(CURVE_IMAGES))
    curves: dict[str, dict[str, Any]] = {}
    for kind, row in CORRUPTIONS.items():
        curve: dict[str, list[float]] = {"psnr": [], "psnr_noisy": []}
        for severity in row.curve:
            batches = corrupted_batches(part, Corruption(f"{kind}:{severity:g}"), device)
            scores = [
                (psnr(clean(network, x.inputs, precision), x.images), psnr(x.inputs, x.images))
                for x in batches
            ]
            for name, parts in zip(curve, zip(*scores, strict=True), strict=True):
                curve[name].append(torch.cat(parts).mean().item())
        curves[kind] = {"severity": list(row.curve), **curve, "trained": kind in trained_on}
    return curves
