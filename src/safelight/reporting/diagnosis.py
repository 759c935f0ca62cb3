"""What went wrong with a training, in words, and what to try: a function of a run's numbers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from safelight.reporting.summary import Summary

__all__ = ["diagnose"]

ALIKE = 0.5  # dB that reconstructions should be ahead of one image for all
LITTLE = 0.1  # of a loss
EMPTY = 0.1  # nats of KL
MOSTLY = 0.9
FEW = 10  # images a dimension of the code
LEAST_EPOCHS = 5  # that say something of the rate
JUMP = 0.5  # of all that was gained, lost again
GAINING = 0.02  # of all that was gained, an epoch
WORSE = 0.05  # of all that was gained, since the best epoch


def diagnose(run: Summary) -> list[str]:
    """What is wrong with a run, or could be better: a sentence or two each; none is a good sign.

    Args:
        run: its numbers; what an evaluation tells is left out where there is none.
    """
    return [*_of_evaluation(run), *_of_epochs(run)]


def _of_evaluation(run: Summary) -> Iterator[str]:
    measured = run.evaluation
    found: dict[str, Any] = next((measured[s] for s in ("test", "validation", "train") if s in measured), {})
    latent, ours, mean = (_number(found, name) for name in ("latent", "psnr", "mean_psnr"))
    is_alike = ours is not None and mean is not None and ours < mean + ALIKE
    kl = run.epochs[-1].value("kl")
    if is_alike and (_number(found, "black") or 0.0) > MOSTLY:
        yield (
            "Its reconstructions are black, whatever the image: the training went wrong early. Train again "
            "with a lower --lr."
        )
    elif ours is not None and mean is not None and ours < mean - ALIKE and _creeps(_judged(run, "train")):
        yield (
            f"It has not even learned the images' mean, and its loss crept down all the time: the rate of "
            f"{run.config.training.lr:g} is too low. Train with --lr {10 * run.config.training.lr:g}."
        )
    elif found.get("active_units") == 0 or (kl is not None and kl < EMPTY):
        yield (
            "The code is empty: none of its dimensions follows the image, so that all reconstructions are "
            "alike. Train with a lower --beta, with --beta-warmup 0.3, or with another --lr."
        )
    elif is_alike:
        yield (
            f"Its reconstructions come no nearer than one image for all, the mean ({mean:.1f} dB): it has "
            "learned next to nothing. Train with more --epochs, or with another --lr."
        )
    pca, images = _number(found, "pca_psnr"), _number(found, "train_n")
    if ours is not None and pca is not None and ours < pca and not is_alike:
        yield (
            f"PCA with as many dimensions comes nearer: {pca:.1f} dB, where this has {ours:.1f}. Train with "
            "more --epochs, or with wider --network.channels."
        )
    right, linear = _number(found, "accuracy"), _number(found, "pca_accuracy")
    if right is not None and linear is not None and right < linear:
        yield (
            f"Logistic regression on PCA of the same labels is right more often: {linear:.1f}%, where this "
            f"has {right:.1f}%. Train with more --epochs, or on more images."
        )
    classic, beside = _number(found, "classic_psnr"), _number(found, "psnr_beside_classic")
    if classic is not None and beside is not None and beside < classic:
        yield (
            f"A classic filter, {found.get('classic_filter')}, cleans better: {classic:.1f} dB on average, "
            f"where this has {beside:.1f} of the same images. Train with more --epochs, or on more images."
        )
    if images is not None and latent is not None and images < FEW * latent:
        yield (
            f"{images:,.0f} training images are few for a code of {latent:.0f} dimensions: with less than "
            f"{FEW} a dimension it learns them by heart. Give more images, or a smaller --network.latent."
        )


def _of_epochs(run: Summary) -> Iterator[str]:
    trained, validated = _judged(run, "train"), _judged(run, "validation")
    gained = max(trained[:1], default=0.0) - min(trained, default=0.0)
    if len(trained) >= LEAST_EPOCHS and gained <= 0:
        yield (
            f"The training {run.judge.words} is no better than after the first epoch: the rate of "
            f"{run.config.training.lr:g} is far too high or far too low. Train with another --lr."
        )
        return
    rises = [(later - min(trained[:i]), i) for i, later in enumerate(trained) if i]
    jump, where = max(rises, default=(0.0, 0))
    if jump > JUMP * gained > 0 and min(trained[where:]) > min(trained[:where]):
        yield (
            f"In epoch {where + 1} the training {run.judge.words} lost more than half of what had been "
            "gained, and never came back: the rate is too high. Train with "
            f"--lr {run.config.training.lr / 4:g}."
        )
        return
    if len(validated) < LEAST_EPOCHS or len(validated) != len(trained):
        return
    best = validated.index(min(validated))
    gained = validated[0] - validated[best]
    lost = validated[-1] - validated[best]
    if best < len(validated) - 1 and lost > WORSE * gained and trained[-1] < trained[best]:
        yield (
            f"After epoch {best + 1} the validation {run.judge.words} grew worse while that of training went "
            "on to improve: the network learns the training images by heart. The weights of that epoch are "
            "kept; more images, a smaller --network.latent or fewer --epochs help."
        )
        return
    yield from _of_pace(run, validated, gained)


def _of_pace(run: Summary, validated: list[float], gained: float) -> Iterator[str]:
    """Whether more epochs would help."""
    done = len(validated)
    if gained <= 0 or done < run.config.training.epochs:  # a training that is not over
        return
    last = max(1, done // 5)
    pace = (validated[-1 - last] - validated[-1]) / last
    if pace > GAINING * gained:
        yield (
            f"Still improving, by {pace / gained:.0%} of all that was gained an epoch: "
            f"safelight train --resume RUN --epochs {2 * done} goes on."
        )


def _creeps(losses: list[float]) -> bool:
    """Whether they fall all the time, and hardly."""
    falls = all(later < earlier for earlier, later in pairwise(losses))
    return len(losses) > 1 and falls and losses[0] - losses[-1] < LITTLE * abs(losses[0])


def _judged(run: Summary, part: str) -> list[float]:
    """The judging measure of each epoch, least is best; empty if an epoch has none."""
    if part == "validation" and not run.is_judged:
        return []
    values = [getattr(epoch, part).get(run.judge.name) for epoch in run.epochs]
    return [] if None in values else [run.judge.ordered(value) for value in values]


def _number(measures: dict[str, Any], name: str) -> float | None:
    value = measures.get(name)
    return value if isinstance(value, int | float) else None
