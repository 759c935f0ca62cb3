"""Denoising: from corrupted images to the images as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from PIL.Image import Image
from torch import Tensor, nn

from safelight.config.run import RunConfig
from safelight.config.task import DenoiseConfig, DenoiseEvaluation, Measure, Sheet
from safelight.data.batches import Batch
from safelight.data.corruption import Corruption
from safelight.data.images import ImageSet
from safelight.data.pictures import tile
from safelight.errors import ConfigError, TrainingError
from safelight.machine import derive_seed
from safelight.networks.base import Autoencoder, ImageNetwork, Network
from safelight.networks.tiling import clean
from safelight.tasks.base import Evaluation, Task, Transform
from safelight.tasks.blind_spot import BlindSpot
from safelight.tasks.fidelity import psnr, read, ssim
from safelight.tasks.objective import LIKELIHOODS, Likelihood, NegativeELBO
from safelight.tasks.severity import corrupted_batches, severity_curves

__all__ = ["Denoise", "DenoisingLoss"]

COLUMNS = 10


@final
class DenoisingLoss(nn.Module):
    """How unlikely the true images are by what a network makes of the corrupted ones.

    Vincent et al. (2008), Extracting and Composing Robust Features with Denoising Autoencoders. Autoencoders
    learn by `NegativeELBO`, which a variational one joins with the KL (Im et al. 2017). The least of both
    likelihoods is at the mean of the images that could have been.

    Args:
        likelihood: of the true images; its parameters are learned along.

    Example:
        >>> import safelight
        >>> from safelight.networks.unet import DenoisingUNet
        >>> from safelight.tasks.objective import Bernoulli
        >>> batch = Batch.of(safelight.load("digits"), slice(4))
        >>> list(DenoisingLoss(Bernoulli())(DenoisingUNet((1, 8, 8)), batch, torch.Generator(), 0.0))
        ['loss']
    """

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__()
        self.elbo = NegativeELBO(likelihood)

    @property
    def likelihood(self) -> Likelihood:
        """Of the true images."""
        return self.elbo.likelihood

    def forward(
        self, network: ImageNetwork, batch: Batch, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        """The terms of the loss.

        Args:
            network: gives logits of images.
            batch: its inputs are cleaned, its images are what should come out.
            generator: the noise of a variational network's codes.
            progress: not needed.

        Returns:
            "loss", for an autoencoder with its parts: means over the batch, in nats per image.

        Raises:
            TrainingError: the network gives something else than images of the same shape.
        """
        if isinstance(network, Autoencoder):
            terms: dict[str, Tensor] = self.elbo(network, batch, generator, progress)
            return terms
        logits = network(batch.inputs)
        if logits.shape != batch.images.shape:
            raise TrainingError(
                f"expected a network that gives {tuple(batch.images.shape)}, as its input, got "
                f"{tuple(logits.shape)}; to denoise, choose another --model"
            )
        return {"loss": -self.likelihood.log_prob(logits.float(), batch.images).mean()}


@final
class Denoise(Task):
    """Cleaning images, measured by how near they come to the true ones and by what a judge reads in them.

    Args:
        config: a run whose task is a `DenoiseConfig`.

    Attributes:
        judge: a classifier in evaluation mode, or None; without it or labels, identity is not measured.
    """

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.task, DenoiseConfig)
        self._settings = config.task
        self._precision = config.training.precision
        self.judge: Network | None = None

    @property
    def corruption(self) -> Corruption | None:
        """What the images suffer; None where they are noisy themselves."""
        return Corruption(self._settings.corruption) if self._settings.corruption else None

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The loss first, then fidelity, each beside that of the noisy images."""
        if self._settings.self_supervised:
            return (
                Measure("loss", "loss", "of hidden pixels, by their noisy values", "nats per pixel", 4),
                Measure("sigma", "noise", "standard deviation that was learned", digits=4),
            )
        share = "of images read by a judge as what they are"
        return (
            Measure("loss", "loss", "of the true images by the noisy ones", "nats per image"),
            Measure("psnr", "PSNR", "cleaned, mean of the images", "dB", lower_is_better=False),
            Measure("psnr_noisy", "PSNR, noisy", "before cleaning", "dB", lower_is_better=False),
            Measure("ssim", "SSIM", "cleaned, mean of the images", digits=4, lower_is_better=False),
            Measure("ssim_noisy", "SSIM, noisy", "before cleaning", digits=4, lower_is_better=False),
            Measure("identity", "identity", f"{share}, cleaned", "%", lower_is_better=False),
            Measure(
                "identity_noisy", "identity, noisy", f"{share}, before cleaning", "%", lower_is_better=False
            ),
            Measure(
                "identity_true", "identity, true", f"{share}, without any noise", "%", lower_is_better=False
            ),
        )

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        """Rows of noisy, cleaned and true images."""
        if self._settings.self_supervised:
            words = "Noisy images above, and below them what the network made of each."
        else:
            words = "Noisy images above, below them what the network made of each, and below that the truth."
        return (Sheet("denoised", "Denoised", words),)

    @property
    def transform(self) -> Transform | None:
        """The corruption, anew at every presentation."""
        return self.corruption

    def loss(self) -> nn.Module:
        """The loss of true images, or of hidden pixels."""
        if self._settings.self_supervised:
            return BlindSpot()
        return DenoisingLoss(LIKELIHOODS[self._settings.likelihood]())

    @torch.no_grad()
    def measure(self, network: ImageNetwork, loss: nn.Module, images: ImageSet) -> dict[str, float]:
        """The loss's terms and, where the truth is known, PSNR."""
        device = str(next(network.parameters()).device)
        generator = torch.Generator(device).manual_seed(derive_seed(0, "evaluation"))
        totals: dict[str, float] = {}
        for batch in corrupted_batches(images, self.corruption, device):
            with torch.autocast(
                batch.images.device.type, torch.bfloat16, enabled=self._precision == "bfloat16"
            ):
                terms = loss(network, batch, generator, 1.0)
            if not self._settings.self_supervised:
                terms["psnr"] = psnr(clean(network, batch.inputs, self._precision), batch.images).mean()
            for name, term in terms.items():
                totals[name] = totals.get(name, 0.0) + term.item() * len(batch)
        return {name: total / len(images) for name, total in totals.items()}

    @torch.no_grad()
    def evaluate(
        self, network: ImageNetwork, loss: nn.Module, images: ImageSet, options: DenoiseEvaluation
    ) -> Evaluation:
        """All measures; spread, severity curves, and pictures of what came out best, worst and wrong.

        Raises:
            ConfigError: corruption was asked for of a run whose images are noisy themselves.
        """
        if self._settings.self_supervised:
            if options.corrupt:
                raise ConfigError(
                    "corrupt: expected none, as the run's images are noisy themselves and their truth is not "
                    f"known, got {options.corrupt!r}; leave it out"
                )
            return Evaluation({**self.measure(network, loss, images), "n": len(images)})
        corruption = Corruption(options.corrupt) if options.corrupt else self.corruption
        assert corruption is not None
        device = str(next(network.parameters()).device)
        generator = torch.Generator(device).manual_seed(derive_seed(0, "evaluation"))
        noisy_parts, cleaned_parts, loss_sum = [], [], 0.0
        for batch in corrupted_batches(images, corruption, device):
            loss_sum += loss(network, batch, generator, 1.0)["loss"].item() * len(batch)
            noisy_parts.append(batch.inputs)
            cleaned_parts.append(clean(network, batch.inputs, self._precision))
        true, noisy, cleaned = images.floats(device=device), torch.cat(noisy_parts), torch.cat(cleaned_parts)
        scores = {
            "psnr": psnr(cleaned, true),
            "psnr_noisy": psnr(noisy, true),
            "ssim": ssim(cleaned, true),
            "ssim_noisy": ssim(noisy, true),
        }
        chosen: dict[str, Any] = {
            "noisy-cleaned-true": slice(COLUMNS),
            "lowest-PSNR": scores["psnr"].argsort()[:COLUMNS],
        }
        right = self._right(images, {"identity": cleaned, "identity_noisy": noisy, "identity_true": true})
        if right:
            chosen["read-as-another-class"] = (right["identity_true"] & ~right["identity"]).nonzero()[
                :COLUMNS, 0
            ]
        trained_on = [step.name for step in self.corruption.steps] if self.corruption else []
        values: dict[str, Any] = {
            "loss": loss_sum / len(images),
            **{name: score.mean().item() for name, score in scores.items()},
            "spread": {name: score.std(correction=0).item() for name, score in scores.items()},
            **dict.fromkeys(("identity", "identity_noisy", "identity_true")),
            **{name: 100 * hits.float().mean().item() for name, hits in right.items()},
            "corrupt": str(corruption),
            "n": len(images),
            "severity_curves": severity_curves(network, images, self._precision, trained_on),
        }
        pictures = {name: [part[which] for part in (noisy, cleaned, true)] for name, which in chosen.items()}
        return Evaluation(values, {name: _rows(rows) for name, rows in pictures.items() if len(rows[0])})

    def _right(self, images: ImageSet, versions: dict[str, Tensor]) -> dict[str, Tensor]:
        """In which images the judge reads their own class, (N,); of each version of them."""
        if self.judge is None or images.labels is None:
            return {}
        labels = torch.from_numpy(images.labels)
        return {name: read(self.judge, version).cpu() == labels for name, version in versions.items()}

    @torch.no_grad()
    def draw(self, network: ImageNetwork, shown: ImageSet, train: ImageSet) -> dict[str, Image]:
        """Noisy, cleaned and true images, the noise the same after every epoch."""
        device = str(next(network.parameters()).device)
        batch = next(corrupted_batches(shown.subset(slice(COLUMNS)), self.corruption, device))
        rows = [batch.inputs, clean(network, batch.inputs, self._precision)]
        if not self._settings.self_supervised:
            rows.append(batch.images)
        return {"denoised": _rows(rows)}


def _rows(rows: Sequence[Tensor]) -> Image:
    """Rows of images, (N, C, H, W) each, under one another."""
    return tile(torch.cat(list(rows)).cpu().numpy(), len(rows[0]))
