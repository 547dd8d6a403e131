"""How often the 95 % intervals hold the truth, and why the shorter ones are not used.

``python -m benchmarks.bench_intervals`` takes about a minute. Of an accuracy the coverage is exact: a sum over the
binomial, least over true accuracies from 50 to 99.8 %. The rest is simulated with a fixed seed.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv
from scipy.stats import binom, binomtest

from pipeline.evaluation.bootstrap import interval, paired_difference

Ends = NDArray[np.float64]  # (N + 1, 2): the interval of each number of right images, as shares
IMAGES = (*range(30, 121, 10), 192, 240, 400, 585, 1000, 2000, 6000)
ACCURACIES = (0.5, 0.998)
#: Of the coin tosses between two runs: how often each alone is right.
WINS = ((0.002, 0.01), (0.005, 0.005), (0.005, 0.03), (0.02, 0.05), (0.1, 0.1), (0.1, 0.2))


def _each(images: int, one: Callable[[int], tuple[float, float]]) -> Ends:
    return np.array([one(right) for right in range(images + 1)])


def exact(images: int) -> Ends:
    """The pipeline's."""
    return _each(images, lambda right: interval(np.arange(images) < right)) / 100


def wilson(images: int) -> Ends:
    """Wilson, JASA 1927."""
    return _each(images, lambda right: tuple(binomtest(right, images).proportion_ci(0.95, "wilson")))


def jeffreys(images: int) -> Ends:
    """Brown, Cai & DasGupta, Statistical Science 2001, section 3.1.2."""
    right = np.arange(images + 1)
    low, high = (betaincinv(right + 0.5, images - right + 0.5, tail) for tail in (0.025, 0.975))
    return np.stack([np.where(right == 0, 0, low), np.where(right == images, 1, high)], axis=1)


def percentile(images: int) -> Ends:
    """The bootstrap's percentiles, whose draws are binomial."""
    share = np.arange(images + 1) / images
    return np.stack([binom.ppf(tail, images, share) / images for tail in (0.025, 0.975)], axis=1)


def least_coverage(ends: Ends) -> tuple[float, float]:
    """The least share of draws whose interval holds the true accuracy, and that accuracy.

    Coverage falls only where the truth passes an end of an interval, so both sides of each end are looked at.
    """
    least, most = ACCURACIES
    beside = np.concatenate([ends.ravel() - 1e-9, ends.ravel() + 1e-9])
    truths = np.append(beside[(beside > least) & (beside < most)], ACCURACIES)
    images = len(ends) - 1
    first = np.searchsorted(ends[:, 1], truths, "left")
    last = np.searchsorted(ends[:, 0], truths, "right") - 1
    coverage = binom.cdf(last, images, truths) - binom.cdf(first - 1, images, truths)
    return float(coverage.min()), float(truths[coverage.argmin()])


def paired_coverage(images: int, wins: tuple[float, float], draws: int = 2000, seed: int = 0) -> float:
    """Share of simulated pairs of runs whose interval holds the true difference."""
    held = [low <= 100 * (wins[1] - wins[0]) <= high for low, high in _paired_intervals(images, wins, draws, seed)]
    return float(np.mean(held))


def _paired_intervals(images: int, wins: tuple[float, float], draws: int, seed: int) -> Iterator[tuple[float, float]]:
    random = np.random.default_rng(seed)
    for _ in range(draws):
        toss = random.random(images)
        found = paired_difference(toss < wins[0], (toss >= wins[0]) & (toss < sum(wins)), draws=1)
        yield found.low, found.high


def chosen_threshold(images: int, draws: int = 400, seed: int = 0) -> dict[str, float]:
    """An accuracy at the threshold that is best for the same images, against the truth at that threshold.

    An image is localized at the thresholds of an interval of its own. Returns the mean optimism in points and the
    coverage of the exact interval and of the percentiles of draws that choose the threshold anew.
    """
    random = np.random.default_rng(seed)
    truth = _localized(random, 100_000).mean(axis=0)
    optimism, held = [], []
    for _ in range(draws):
        hits = _localized(random, images)
        best = int(hits.sum(axis=0).argmax())
        weights = random.multinomial(images, np.full(images, 1 / images), size=200)
        anew = np.quantile((weights @ hits.astype(np.float64)).max(axis=1) / images, (0.025, 0.975))
        low, high = np.array(interval(hits[:, best])) / 100
        optimism.append(hits[:, best].mean() - truth[best])
        held.append((low <= truth[best] <= high, anew[0] <= truth[best] <= anew[1]))
    exactly, chosen_anew = np.mean(held, axis=0)
    return {"optimism": 100 * float(np.mean(optimism)), "exact": float(exactly), "chosen anew": float(chosen_anew)}


def _localized(random: np.random.Generator, images: int) -> NDArray[np.bool_]:
    centre, reach = random.uniform(0, 1, (images, 1)), np.abs(random.normal(0.12, 0.1, (images, 1)))
    return np.asarray(np.abs(np.arange(0, 1, 0.01) - centre) <= reach)


def main() -> None:
    """Print three tables."""
    print("| interval of an accuracy | least coverage, % | images | true accuracy, % | mean width, 240 images, 95 % |")
    print("|---|---|---|---|---|")
    for method in (exact, wilson, jeffreys, percentile):
        (coverage, truth), images = min((least_coverage(method(n)), n) for n in IMAGES)
        width = 100 * float(binom.pmf(np.arange(241), 240, 0.95) @ np.diff(method(240), axis=1)[:, 0])
        print(f"| {method.__name__} | {100 * coverage:.1f} | {images} | {100 * truth:.1f} | {width:.1f} |")
    print("\n| paired difference | least coverage, % | only the first / second right, % |\n|---|---|---|")
    for images in (30, 96, 240, 585):
        coverage, wins = min((paired_coverage(images, wins), wins) for wins in WINS)
        print(f"| {images} images | {100 * coverage:.1f} | {100 * wins[0]:g} / {100 * wins[1]:g} |")
    print("\n| threshold chosen on the images | optimism, points | exact, % | chosen anew in every draw, % |")
    print("|---|---|---|---|")
    for images in (30, 120, 240):
        optimism, *covered = chosen_threshold(images).values()
        print(f"| {images} images | {optimism:.1f} | {' | '.join(f'{100 * share:.1f}' for share in covered)} |")


if __name__ == "__main__":
    main()
