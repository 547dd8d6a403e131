"""Bootstrap over images: how far an accuracy would move on another draw of the test set.

Percentile intervals (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). Images are drawn with
replacement; what is chosen on the set itself (the threshold of MaxBoxAcc) is chosen anew in every draw. All results
are in percent.

A set is given by its ``hits``: ``(N,)`` bool, or float such as IoUs, for an accuracy or a mean at one threshold;
``(N, T)`` for an accuracy that is the maximum over T thresholds (MaxBoxAcc); ``(N, D, T)`` for the mean over D criteria
of such maxima (MaxBoxAccV2).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Hits = NDArray[np.bool_] | NDArray[np.floating]
#: Draws held in memory at a time.
_BATCH = 64


@dataclass(frozen=True)
class PairedDifference:
    """How much better the second run is than the first, on the same images.

    Attributes:
        difference: second minus first, in points of percent.
        low: lower end of the interval.
        high: upper end of the interval.
        p_value: two-sided; twice the share of draws on the rarer side of zero, at most 1.
    """

    difference: float
    low: float
    high: float
    p_value: float


def interval(hits: Hits, draws: int = 1000, seed: int = 0, confidence: float = 0.95) -> tuple[float, float]:
    """Ends of the bootstrap interval of an accuracy.

    Raises:
        ValueError: no image.
    """
    return _ends(np.concatenate([_accuracies(w, hits) for w in _weights(len(hits), draws, seed)]), confidence)


def paired_difference(
    first: Hits, second: Hits, draws: int = 1000, seed: int = 0, confidence: float = 0.95
) -> PairedDifference:
    """Difference of two runs' accuracies, both taken on the same images in every draw.

    Raises:
        ValueError: no image, or not the same number of them; their order must be the same, too.
    """
    if len(first) != len(second):
        raise ValueError(f"the runs were scored on {len(first)} and {len(second)} images")
    once = np.ones((1, len(first)))
    weights = _weights(len(first), draws, seed)
    drawn = np.concatenate([_accuracies(w, second) - _accuracies(w, first) for w in weights])
    low, high = _ends(drawn, confidence)
    rarer = min((drawn <= 0).mean(), (drawn >= 0).mean())
    difference = float((_accuracies(once, second) - _accuracies(once, first))[0])
    return PairedDifference(difference, low, high, float(min(1.0, 2 * rarer)))


def _weights(images: int, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Batches ``(b, N)``: how often each draw takes each image."""
    if images == 0:
        raise ValueError("no image was scored")
    random = np.random.default_rng(seed)
    for start in range(0, draws, _BATCH):
        size = min(_BATCH, draws - start)
        taken = random.integers(images, size=(size, images)) + images * np.arange(size)[:, None]
        yield np.bincount(taken.ravel(), minlength=size * images).reshape(size, images).astype(np.float64)


def _accuracies(weights: NDArray[np.float64], hits: Hits) -> NDArray[np.float64]:
    """The accuracy in each draw, ``(b,)``."""
    per_criterion = hits.reshape(len(hits), 1, 1) if hits.ndim == 1 else hits.reshape(len(hits), -1, hits.shape[-1])
    # One criterion at a time: as floats, all of them at once would be large.
    maxima = [(weights @ per_criterion[:, d].astype(np.float64)).max(axis=1) for d in range(per_criterion.shape[1])]
    return np.asarray(np.mean(maxima, axis=0) * (100 / len(hits)))


def _ends(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
