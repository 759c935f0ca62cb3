"""Whether probabilities mean what they say, and the one number that puts them right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "calibration_error", "interval", "reliability", "softmax", "temperature"]

BINS = 15
Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """What a classifier says of each class: the softmax of its logits.

    Args:
        logits: (N, K).
        temperature: what to divide them by, as `temperature` finds it.

    Returns:
        (N, K), each row's sum 1.

    Example:
        >>> import numpy as np
        >>> softmax(np.log(np.array([[3.0, 1.0]]))).round(6)
        array([[0.75, 0.25]])
    """
    from scipy import special  # slow to import

    found: Floats = special.softmax(logits / temperature, axis=1)
    return found


def reliability(probabilities: Floats, labels: Integers, bins: int = BINS) -> list[dict[str, float]]:
    """Of images that a classifier was about as sure of: how sure it was, and how often it was right.

    Guo et al. (2017), On Calibration of Modern Neural Networks, equations 1 and 2.

    Args:
        probabilities: (N, K).
        labels: (N,).
        bins: of equal width, of the greatest probability; empty ones are left out.

    Returns:
        For each bin: "confidence" and "accuracy", means from 0 to 1, and "n", its number of images.

    Example:
        >>> import numpy as np
        >>> reliability(np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([0, 0]), bins=2)
        [{'confidence': 0.75, 'accuracy': 0.5, 'n': 2}]
    """
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "confidence": float(confidence[chosen].mean()),
            "accuracy": float(right[chosen].mean()),
            "n": int(chosen.sum()),
        }
        for chosen in (bin_of == number for number in range(bins))
        if chosen.any()
    ]


def calibration_error(probabilities: Floats, labels: Integers, bins: int = BINS) -> float:
    """Expected calibration error, from 0 to 1: the mean over images of their bin's |accuracy - confidence|.

    Guo et al. (2017), equation 3.

    Args:
        probabilities: (N, K).
        labels: (N,).
        bins: as in `reliability`.

    Example:
        >>> import numpy as np
        >>> calibration_error(np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([0, 0]), bins=2)
        0.25
    """
    table = reliability(probabilities, labels, bins)
    return sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in table) / len(labels)


def temperature(logits: Floats, labels: Integers) -> float:
    """The number to divide logits by so that their probabilities fit labels best; which is likeliest stays.

    Guo et al. (2017), section 4.2: it minimizes the cross-entropy. Kept between 1/20 and 20, as a classifier
    without a mistake would want to be ever surer.

    Args:
        logits: (N, K), of images that were not trained on.
        labels: (N,).

    Example:
        >>> import numpy as np
        >>> logits = np.array([[4.0, 0.0]] * 4)  # sure of the first class, which three of four times is right
        >>> round(4 / temperature(logits, np.array([0, 0, 0, 1])), 3)  # log 3
        1.099
    """
    from scipy.optimize import minimize_scalar  # slow to import
    from scipy.special import log_softmax

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(len(labels)), labels].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-np.log(20), np.log(20)), method="bounded").x))


def interval(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The confidence interval of an accuracy, from 0 to 1 (Wilson 1927).

    Args:
        right: number of images that were.
        n: of how many.
        level: share of such intervals that hold the accuracy on images without end.

    Example:
        >>> low, high = interval(9, 10)
        >>> round(low, 3), round(high, 3)
        (0.596, 0.982)
    """
    from scipy.stats import binomtest  # slow to import

    found = binomtest(right, n).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)
