"""safelight as scikit-learn's estimators: a transformer, an outlier detector, a few-labels classifier.

They train in memory and hold their weights, so that they are cloned, pickled and searched over like any
other. Rows are images where their shape says so, and go through convolutions; any other rows are vectors,
whose columns are scaled one by one, and go through dense layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import (
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from safelight.data.label_files import UNKNOWN
from safelight.in_memory import Exact, RowEstimator, Rows, as_value_errors, train_classifier
from safelight.labels.training import codes_of
from safelight.networks.base import Autoencoder
from safelight.similarity.outliers import Ordinary
from safelight.tasks.calibration import softmax
from safelight.tasks.classify import temperature_of
from safelight.tasks.objective import NegativeELBO

__all__ = ["AutoencoderTransformer", "FewLabelsClassifier", "OutlierDetector"]


@final
class AutoencoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, RowEstimator):  # type: ignore[misc,unused-ignore]
    """An autoencoder's codes as features.

    Args:
        latent: dimensions of a code.
        image_shape: (height, width) or (height, width, channels) of flat rows that are images; arrays
            (N, height, width) and (N, height, width, channels) need none.
        epochs: times every row is seen; None lets the images choose, as `safelight.train` does.
        settings: others of `safelight.train`, such as {"likelihood": "bernoulli", "threads": 1}.
        random_state: fixes all that is drawn.

    Attributes:
        network_: the autoencoder, on the CPU and in double precision.

    Raises:
        ValueError: rows or settings that do not fit.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X = load_digits().data[:300]  # (300, 64)
        >>> coder = AutoencoderTransformer(latent=8, image_shape=(8, 8), epochs=1).fit(X)
        >>> coder.transform(X).shape, coder.inverse_transform(coder.transform(X)).shape
        ((300, 8), (300, 64))
    """

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Train on rows (N, F) or images (N, H, W[, C]); y is not needed."""
        images, _ = self._learned(X)
        self.network_ = Exact(cast(Autoencoder, self._autoencoder(images, self._seed()).network))
        self._n_features_out = int(self.latent)
        return self

    @torch.no_grad()
    def transform(self, X: Any) -> Rows:  # noqa: N803
        """Rows or images to their mean codes, (N, D)."""
        return self._images(X).mapped(lambda x: self.network_.encode(x).mu).astype(np.float64)

    @torch.no_grad()
    def inverse_transform(self, X: Any) -> Rows:  # noqa: N803
        """Codes (N, D) to rows or images like those that it was fitted to."""
        check_is_fitted(self)
        codes = np.asarray(X, np.float64)
        if codes.ndim != 2 or codes.shape[1] != self._n_features_out:
            raise ValueError(f"expected codes (N, {self._n_features_out}), got {codes.shape}")
        drawn = torch.sigmoid(self.network_.decode(torch.from_numpy(codes)))
        return self._scale.rows(drawn).reshape(-1, *self._row_shape)

    @torch.no_grad()
    def score_samples(self, X: Any) -> Rows:  # noqa: N803
        """Minus the mean squared error of each row's reconstruction, of values scaled to [0, 1]; (N,)."""

        def score(x: Tensor) -> Tensor:
            return -(self.network_.reconstruct(x) - x).square().flatten(1).mean(1)

        return self._images(X).mapped(score).astype(np.float64)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """The mean of `score_samples`: higher is better."""
        return float(self.score_samples(X).mean())


@final
class OutlierDetector(OutlierMixin, RowEstimator):  # type: ignore[misc,unused-ignore]
    """Rows unlike those that it was fitted to; see `safelight.similarity.outliers`.

    Signs are scikit-learn's: higher scores are more normal, an outlier's decision is below 0, its prediction
    -1.

    Args:
        latent: as for `AutoencoderTransformer`.
        image_shape: likewise.
        epochs: likewise.
        settings: likewise.
        random_state: likewise.
        contamination: share of the rows fitted to that count as outliers, above 0 and up to 0.5.

    Attributes:
        ordinary_: what the rows fitted to look like.
        offset_: the score of which lower ones are outliers'.

    Raises:
        ValueError: rows or settings that do not fit.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X = load_digits().images[:300]  # (300, 8, 8)
        >>> detector = OutlierDetector(contamination=0.02, epochs=1).fit(X)
        >>> int((detector.predict(X) == -1).sum())
        6
    """

    def __init__(
        self,
        latent: int = 16,
        image_shape: tuple[int, ...] | None = None,
        epochs: int | None = 20,
        settings: Mapping[str, Any] | None = None,
        random_state: Any = 0,
        contamination: float = 0.01,
    ) -> None:
        super().__init__(latent, image_shape, epochs, settings, random_state)
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Train on rows (N, F) or images (N, H, W[, C]), most of which are normal; y is not needed."""
        if not 0 < self.contamination <= 0.5:
            raise ValueError(f"contamination: expected above 0 and up to 0.5, got {self.contamination}")
        images, _ = self._learned(X)
        parts = self._autoencoder(images, self._seed())
        loss = cast(NegativeELBO, parts.loss)
        network = Exact(cast(Autoencoder, parts.network))
        self.ordinary_ = Ordinary.learn(network, loss.likelihood, loss.prior, images)
        self.offset_ = float(np.percentile(self.score_samples(X), 100 * self.contamination))
        return self

    def score_samples(self, X: Any) -> Rows:  # noqa: N803
        """How normal rows are, (N,): minus the scores that `Run.outliers` gives."""
        images = self._images(X)
        return -self.ordinary_.scores(self.ordinary_.columns(images))

    def decision_function(self, X: Any) -> Rows:  # noqa: N803
        """`score_samples` above `offset_`, (N,): below 0 for outliers."""
        scores = self.score_samples(X)
        return scores - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: N803
        """1 for what is normal, -1 for an outlier, (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)


@final
class FewLabelsClassifier(ClassifierMixin, RowEstimator):  # type: ignore[misc,unused-ignore]
    """A classifier from a few labels and many rows without; see `safelight.finetune`.

    Args:
        latent: of the autoencoder over whose codes the labels are first spread.
        image_shape: as for `AutoencoderTransformer`.
        epochs: likewise, of autoencoder and classifier each, None being 10 of the latter.
        settings: of training, for both, such as {"threads": 1}.
        random_state: as for `AutoencoderTransformer`.

    Attributes:
        classes_: (K,)
        network_: the classifier, on the CPU and in double precision.
        temperature_: what its logits are divided by.

    Raises:
        ValueError: rows, labels or settings that do not fit.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> few = np.where(np.arange(300) < 100, y[:300], -1)
        >>> found = FewLabelsClassifier(image_shape=(8, 8), epochs=2).fit(X[:300], few)
        >>> found.predict_proba(X[:2]).shape
        (2, 10)
    """

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Train on rows (N, F) or images (N, H, W[, C]) and the class of each, (N,), -1 where it is unknown.

        Where -1 leaves but one class, it is one itself: with labels -1 and 1 there is nothing else to learn.
        """
        images, y = self._learned(X, y)
        as_objects = y.astype(object)
        known = ~((as_objects == UNKNOWN) | (as_objects == str(UNKNOWN)))
        if len(np.unique(y[known])) < 2:
            known[:] = True
        check_classification_targets(y[known])
        self.classes_, numbers = np.unique(y[known], return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"expected at least 2 classes, got 1 class, {self.classes_[0]!r}")
        labels = np.full(len(y), UNKNOWN)
        labels[known] = numbers
        images, seed = replace(images, labels=labels), self._seed()
        codes = None if known.all() else codes_of(self._autoencoder(images, seed).network, images)
        with as_value_errors():
            parts = train_classifier(images, len(self.classes_), codes, self._settings(seed))
        self.network_, self.temperature_ = parts.network.double(), temperature_of(parts.loss)
        return self

    @torch.no_grad()
    def predict_proba(self, X: Any) -> Rows:  # noqa: N803
        """The probability of each class, (N, K), at the temperature that was learned."""
        logits = self._images(X).mapped(lambda x: self.network_(x.double()))
        return np.asarray(softmax(logits.astype(np.float64), self.temperature_))

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The likeliest class of each row, (N,)."""
        likeliest = self.predict_proba(X).argmax(1)
        return cast(NDArray[Any], self.classes_[likeliest])
