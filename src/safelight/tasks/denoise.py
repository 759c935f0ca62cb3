"""Denoising: from corrupted images to the images as they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor, nn

from safelight.config.run import RunConfig
from safelight.config.task import DenoiseConfig, DenoiseEvaluation, Measure, Sheet
from safelight.data.batches import Batch
from safelight.data.components import sample_of
from safelight.data.corruption import Corruption
from safelight.data.images import ImageSet
from safelight.data.label_files import UNKNOWN
from safelight.data.pictures import tile
from safelight.errors import ConfigError
from safelight.machine import derive_seed
from safelight.networks.base import Autoencoder, ImageNetwork, Network, device_of
from safelight.networks.tiling import clean
from safelight.tasks.autoencode import likelihood_words
from safelight.tasks.base import Beside, Evaluation, Task, Transform
from safelight.tasks.blind_spot import BlindSpot, check_made
from safelight.tasks.classic import ClassicFilter, best_filter, tried_count
from safelight.tasks.fidelity import psnr, read, ssim
from safelight.tasks.objective import LIKELIHOODS, Likelihood, NegativeELBO
from safelight.tasks.severity import corrupted_batches, severity_curves

__all__ = ["Denoise", "DenoisingLoss"]

COLUMNS = 10
FILTERED_PIXELS = 1 << 20  # of the images that a classic filter cleans beside the network: seconds
_Shown = tuple[float, tuple[Tensor, ...]]  # a key, and an image's versions


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
        check_made(logits, batch.images)
        return {"loss": -self.likelihood.log_prob(logits.float(), batch.images).mean()}


@final
class Denoise(Task):
    """Cleaning images, measured by how near they come to the true ones and by what a judge reads in them.

    Args:
        config: a run whose task is a `DenoiseConfig`.

    Attributes:
        judge: a classifier in evaluation mode, or None; without it or labels, identity is not measured.
        train: the training images, on which an evaluation chooses a classic filter to compare with; or None,
            and there is no such line.
    """

    measures_means = True

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.task, DenoiseConfig)
        self._settings = config.task
        self._precision = config.training.precision
        is_variational = config.network.is_variational
        density = "−ELBO with one sample of z" if is_variational else "−log p(true | noisy)"
        self._convention = f"{likelihood_words(config, density)}, of images with {self.corruption}"
        self.judge: Network | None = None
        self.train: ImageSet | None = None

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
            Measure("loss", "loss", self._convention, "nats per image"),
            Measure("psnr", "PSNR", "cleaned, mean of the images", "dB", lower_is_better=False),
            Measure("psnr_noisy", "PSNR, noisy", "before cleaning", "dB", lower_is_better=False),
            Measure(
                "classic_psnr", "PSNR, classic", "by the best classic filter", "dB", lower_is_better=False
            ),
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
        loss.eval()
        totals: dict[str, float] = {}
        for batch, terms in self._served(network, loss, images, self.corruption):
            if not self._settings.self_supervised:
                terms["psnr"] = psnr(clean(network, batch.inputs, self._precision), batch.images).mean()
            for name, term in terms.items():
                totals[name] = totals.get(name, 0.0) + term.item() * len(batch)
        return {name: total / len(images) for name, total in totals.items()}

    def _served(
        self, network: ImageNetwork, loss: nn.Module, images: ImageSet, corruption: Corruption | None
    ) -> Iterator[tuple[Batch, dict[str, Tensor]]]:
        """Batches with noise that is always the same, and the loss's terms of each.

        Terms are at the run's precision, in which its network cleans too.
        """
        device = torch.device(device_of(network))
        generator = torch.Generator(device).manual_seed(derive_seed(0, "evaluation"))
        for batch in corrupted_batches(images, corruption, str(device)):
            with torch.autocast(device.type, torch.bfloat16, enabled=self._precision == "bfloat16"):
                terms = loss(network, batch, generator, 1.0)
            yield batch, terms

    def prepare(self, images: ImageSet, options: DenoiseEvaluation, beside: Beside) -> ImageSet:
        """Fetch the judge that is asked for, and the images that a classic filter is chosen on."""
        self.judge, images = beside.judge(options.judge) if options.judge else (None, images)
        self.train = None if self._settings.self_supervised else beside.train()
        return images

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
        loss_sum, scored, shown = 0.0, [], dict[str, list[_Shown]]()
        classic = None if self.train is None else _best_filter(self.train, corruption)
        room = FILTERED_PIXELS  # of images that are left to filter
        beside: list[Tensor] = []
        for batch, terms in self._served(network, loss, images, corruption):
            loss_sum += terms["loss"].item() * len(batch)
            true, noisy = batch.images, batch.inputs
            cleaned = clean(network, noisy, self._precision)
            found = {
                "psnr": psnr(cleaned, true),
                "psnr_noisy": psnr(noisy, true),
                "ssim": ssim(cleaned, true),
                "ssim_noisy": ssim(noisy, true),
                **self._right(batch, {"identity": cleaned, "identity_noisy": noisy, "identity_true": true}),
            }
            few = min(len(batch), room // noisy[0].numel())
            if classic is not None and few:
                beside.append(
                    torch.stack([psnr(classic(noisy[:few]), true[:few]), found["psnr"][:few]]).cpu()
                )
                room -= few * noisy[0].numel()
            scored.append({name: score.cpu() for name, score in found.items()})
            keys = {"noisy-cleaned-true": torch.zeros(len(batch)), "lowest-PSNR": scored[-1]["psnr"]}
            if "identity" in scored[-1]:
                is_lost = scored[-1]["identity_true"] & ~scored[-1]["identity"]
                keys["read-as-another-class"] = torch.where(is_lost, 0.0, torch.inf)
            for name, key in keys.items():
                shown[name] = _least(shown.get(name, []), key, (noisy, cleaned, true))
        scores = {name: torch.cat([part[name] for part in scored]) for name in scored[0]}
        is_read = {name for name in scores if name.startswith("identity")}
        trained_on = [step.name for step in self.corruption.steps] if self.corruption else []
        values: dict[str, Any] = {
            "loss": loss_sum / len(images),
            **{name: score.mean().item() for name, score in scores.items() if name not in is_read},
            "spread": {
                name: score.std(correction=0).item() for name, score in scores.items() if name not in is_read
            },
            **dict.fromkeys(("identity", "identity_noisy", "identity_true")),
            **{name: 100 * scores[name][_known(images)].float().mean().item() for name in sorted(is_read)},
            "corrupt": str(corruption),
            **_beside(classic, beside),
            "n": len(images),
            "severity_curves": severity_curves(network, images, self._precision, trained_on),
        }
        pictures = {
            name: _rows([torch.stack(row) for row in zip(*(image for _, image in found), strict=True)])
            for name, found in shown.items()
            if found
        }
        return Evaluation(values, pictures)

    def _right(self, batch: Batch, versions: dict[str, Tensor]) -> dict[str, Tensor]:
        """In which images the judge reads their own class, if known, (N,); of each version of them."""
        if self.judge is None or batch.labels is None:
            return {}
        return {name: read(self.judge, version) == batch.labels for name, version in versions.items()}

    @torch.no_grad()
    def draw(self, network: ImageNetwork, shown: ImageSet, train: ImageSet) -> dict[str, Image]:
        """Noisy, cleaned and true images, the noise the same after every epoch."""
        device = device_of(network)
        batch = next(corrupted_batches(shown.subset(slice(COLUMNS)), self.corruption, device))
        rows = [batch.inputs, clean(network, batch.inputs, self._precision)]
        if not self._settings.self_supervised:
            rows.append(batch.images)
        return {"denoised": _rows(rows)}


def _known(images: ImageSet) -> NDArray[np.int64]:
    """The places of the images whose class is known."""
    return np.flatnonzero(np.asarray(images.labels) != UNKNOWN)


def _best_filter(train: ImageSet, corruption: Corruption) -> ClassicFilter:
    """The classic filter that cleans some of the training images best."""
    some = sample_of(train, tried_count(math.prod(train.shape)))
    batches = list(corrupted_batches(some, corruption, "cpu"))
    return best_filter(torch.cat([x.inputs for x in batches]), torch.cat([x.images for x in batches]))


def _beside(classic: ClassicFilter | None, scores: Sequence[Tensor]) -> dict[str, Any]:
    """What the best classic filter makes of the images that it had time for, and what ours makes of these."""
    if classic is None or not scores:
        return {}
    theirs, ours = torch.cat(list(scores), 1)
    return {
        "classic_filter": str(classic),
        "classic_psnr": theirs.mean().item(),
        "psnr_beside_classic": ours.mean().item(),
        "classic_n": len(ours),
    }


def _rows(rows: Sequence[Tensor]) -> Image:
    """Rows of images, (N, C, H, W) each, under one another."""
    return tile(torch.cat(list(rows)).cpu().numpy(), len(rows[0]))


def _least(kept: list[_Shown], keys: Tensor, versions: Sequence[Tensor]) -> list[_Shown]:
    """The few images with the least keys, of those kept so far and of a batch, earlier ones first.

    Args:
        kept: keys, and each image's versions.
        keys: (N,) of the batch; an infinite one leaves an image out.
        versions: of its images, (N, C, H, W) each.
    """
    best = [i for i in keys.argsort(stable=True)[:COLUMNS].tolist() if keys[i].isfinite()]
    added = [(keys[i].item(), tuple(version[i].clone() for version in versions)) for i in best]
    return sorted([*kept, *added], key=itemgetter(0))[:COLUMNS]
