"""How far an accuracy would move on another draw of images: intervals, and the difference of two runs.

All results are in percent or points of percent. ``benchmarks/bench_intervals.py`` computes how often the intervals
hold the truth. There is none for a maximum over thresholds (MaxBoxAcc): it is taken on the images themselves, so it
lies above what any threshold reaches on new ones, and an interval around it would say otherwise.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

Hits = NDArray[np.bool_] | NDArray[np.floating]
#: Random signs held in memory at a time, a row for each assignment.
_BATCH = 64


@dataclass(frozen=True)
class PairedDifference:
    """How much better the second run is than the first, on the same images.

    Attributes:
        difference: second minus first, in points of percent.
        low: lower end of the interval.
        high: upper end of the interval.
        p_value: two-sided, never 0.
    """

    difference: float
    low: float
    high: float
    p_value: float


def interval(hits: NDArray[np.bool_], confidence: float = 0.95) -> tuple[float, float]:
    """Ends of the exact interval of an accuracy (Clopper & Pearson, Biometrika 1934), in percent.

    The shorter ones (Wilson's, Jeffreys', mid-P; Brown, Cai & DasGupta, Statistical Science 2001) fall to 84, 88 and
    92 % near an accuracy of 100 %, where classification is; this one holds the truth at least as often as it says.

    Args:
        hits: ``(N,)``, whether each image is right.
        confidence: how often it must hold the truth at least.

    Raises:
        ValueError: no image.
    """
    images, right = _count(hits), int(np.count_nonzero(hits))
    tail = (1 - confidence) / 2
    low = betaincinv(right, images - right + 1, tail) if right else 0.0
    high = betaincinv(right + 1, images - right, 1 - tail) if right < images else 1.0
    return 100 * float(low), 100 * float(high)


def paired_difference(
    first: Hits, second: Hits, draws: int = 1000, seed: int = 0, confidence: float = 0.95
) -> PairedDifference:
    """Difference of two runs' accuracies, or means of values in [0, 1], over the same images in the same order.

    The interval is Student's with two more images, one that the first run wins and one that the second does, by the
    largest difference seen: for hits that of Bonett & Price, Journal of Educational and Behavioral Statistics 2012.
    Without the two it would have no width where the runs differ in no image, and little where in few.

    The p-value is that of the sign-flip test with ``draws`` random assignments, the observed one counted (Phipson &
    Smyth, Statistical Applications in Genetics and Molecular Biology 2010).

    Args:
        first, second: ``(N,)``.
        draws, seed: of the p-value alone.
        confidence: of the interval.

    Raises:
        ValueError: no image, or not the same number of them.
    """
    if len(first) != len(second):
        raise ValueError(f"the runs were scored on {len(first)} and {len(second)} images")
    images, gains = _count(first), second.astype(np.float64) - first.astype(np.float64)
    largest = float(np.abs(gains).max()) or 1.0
    widened = np.append(gains, [largest, -largest])
    reach = stdtrit(images + 1, (1 + confidence) / 2) * widened.std() / np.sqrt(images + 2)
    low, high = widened.mean() - reach, widened.mean() + reach
    return PairedDifference(
        100 * float(gains.mean()), 100 * float(max(low, -1)), 100 * float(min(high, 1)), _sign_flip(gains, draws, seed)
    )


def _count(hits: Hits) -> int:
    if len(hits) == 0:
        raise ValueError("no image was scored")
    return len(hits)


def _sign_flip(gains: NDArray[np.float64], draws: int, seed: int) -> float:
    """Share of assignments of the runs to the names "first" and "second" that differ as much as the true one."""
    differing = gains[gains != 0]
    observed = abs(differing.sum()) - 1e-9  # equal sums may differ in the last digit
    extreme = sum(int((np.abs(signs @ differing) >= observed).sum()) for signs in _signs(len(differing), draws, seed))
    return (extreme + 1) / (draws + 1)


def _signs(images: int, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Batches ``(b, N)`` of +1 and -1."""
    random = np.random.default_rng(seed)
    for start in range(0, draws, _BATCH):
        yield random.choice([-1.0, 1.0], size=(min(_BATCH, draws - start), images))
