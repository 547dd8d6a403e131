"""Whether one run is better than another on the same images, when more than one run is tried on them.

Two parts: an exact test of a single comparison, and how the probability of a false alarm is spread over all of them.
"""

import math
import sys

import numpy as np
from numpy.typing import NDArray

#: Probability that, of any number of challengers that are no better than the champion, even one takes its place.
ALPHA = 0.05
#: Most sign flips that are drawn where they cannot all be counted.
_MOST_FLIPS = 1_000_000
#: Numbers held at a time while drawing.
_BATCH = 4_000_000


def level_at(look: int) -> float:
    """The level at which a comparison is tested that is the ``look``-th (from 1) with one champion.

    The levels ``α·6/(π²k²)`` sum up to α, so by Bonferroni's inequality, whatever the comparisons depend on, at most α
    is the probability that any of them is falsely significant; spending as in Lan & DeMets, "Discrete sequential
    boundaries for clinical trials", Biometrika 70 (1983), with the series of Foster & Stine, "α-investing", JRSS B 70
    (2008), section 2. Why repeated looks at one set must cost something: Blum & Hardt, "The Ladder", ICML 2015.
    """
    return ALPHA * 6 / (math.pi * look) ** 2


def gain_p_value(first: NDArray[np.float64], second: NDArray[np.float64], level: float) -> float:
    """Probability of a mean gain from first to second this large or larger, if the two were interchangeable.

    One-sided and paired, and never 0. Of right and wrong answers it is the exact test of McNemar, "Note on the sampling
    error of the difference between correlated proportions", Psychometrika 12 (1947): of the images on which the runs
    differ each is as likely won as lost. Of other values it is the same idea, the sign-flip test of Fisher, "The design
    of experiments", 1935, section 21: all flips where these are few, else as many drawn as tell p at the level, at most
    a million, counted as by Phipson & Smyth, "Permutation P-values should never be zero", 2010.

    Args:
        first, second: what each image contributes, ``(N,)`` in [0, 1], in the same order.
        level: p values far below it need not be told apart.
    """
    # Takes most of a second to import, and every command would wait for it.
    from scipy import stats

    gains = second - first
    gains = gains[gains != 0]
    if len(gains) == 0:
        return 1.0
    if np.unique(np.abs(gains)).size == 1:
        found = stats.binomtest(int((gains > 0).sum()), len(gains), alternative="greater").pvalue
        # Of a thousand images that are all won it is below what a float holds.
        return max(float(found), sys.float_info.min)
    flips = min(_MOST_FLIPS, math.ceil(20 / level))
    batch = max(1, _BATCH // len(gains))
    result = stats.permutation_test(
        (gains,), np.mean, permutation_type="samples", alternative="greater", n_resamples=flips, batch=batch, rng=0
    )
    return float(result.pvalue)
