"""How often promotion by ``pipeline.promotion.rule`` is wrong: ``python -m benchmarks.bench_promotion``.

Sequences of challengers compete with one champion on one gate. Where all are equal, a promotion is false, and a
sequence counts once. Images are easy or hard for everyone (a Beta distribution), so that the hits of two runs are
correlated, by 0.5, as those of real ones are. The second table tells what the rule costs: how often a challenger that
is better indeed is promoted, by the look it comes at.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.metrics import percent
from pipeline.evaluation.paired import gain_p_value, level_at
from pipeline.promotion.rule import Contender, Rule, decide

METRIC = "gate.gt_known_iou50"
RULE = Rule(METRIC, min_gain=0.5, guards=(), tolerance=1.0, floor=0.0)
SEQUENCES = 1000
CHALLENGERS = 20
TRIALS = 200
#: Both parameters of the Beta distribution of the images' ease: the smaller, the more alike are the runs.
SHAPE = 0.5
GAINS = (0.05, 0.1, 0.2)


def contender(name: str, hits: NDArray[np.float64]) -> Contender:
    """A run with these hits on gate."""
    return Contender(name, "data", "protocol", {"gate": tuple(map(str, range(len(hits))))}, {METRIC: hits})


def hits(rng: np.random.Generator, ease: NDArray[np.float64]) -> NDArray[np.float64]:
    """One run's hits ``(N,)`` on images that are found with these probabilities."""
    return (rng.random(len(ease)) < ease).astype(np.float64)


def wins(champion: NDArray[np.float64], challenger: NDArray[np.float64], look: int) -> bool:
    """Whether the rule promotes the challenger."""
    # The interval takes most of the time, and saves nobody whom the exact test refuses.
    if gain_p_value(champion, challenger, level_at(look)) > level_at(look):
        return False
    return decide(RULE, contender("b", challenger), contender("a", champion), look).verdict == "promoted"


def is_false(seed: int, images: int, *, spend: bool = True) -> bool:
    """Whether any of the equal challengers of a sequence takes the place of an equal champion."""
    rng = np.random.default_rng([images, seed])
    ease = rng.beta(SHAPE, SHAPE, images)
    champion = hits(rng, ease)
    return any(wins(champion, hits(rng, ease), k if spend else 1) for k in range(1, CHALLENGERS + 1))


def is_found(seed: int, images: int, gain: float, look: int) -> bool:
    """Whether a challenger is promoted that finds this share of the images more, of those the champion may miss."""
    rng = np.random.default_rng([images, seed])
    ease = rng.beta(SHAPE, SHAPE, images)
    return wins(hits(rng, ease), hits(rng, ease + gain * (1 - ease) / (1 - ease).mean()), look)


def main() -> None:
    """Print both tables in Markdown."""
    print(f"False promotions in {SEQUENCES} sequences of {CHALLENGERS} equal challengers, in percent\n")
    print("| images of gate | levels spent over the looks | every look as if the first |\n|---:|---:|---:|")
    for images in (100, 200, 500, 1000):
        shares = [
            percent(np.array([is_false(i, images, spend=spend) for i in range(SEQUENCES)])) for spend in (True, False)
        ]
        print(f"| {images} | {shares[0]:.1f} | {shares[1]:.1f} |", flush=True)
    print(f"\nPromotions of a challenger that is better by 5, 10 and 20 points, in percent of {TRIALS}\n")
    print("| images of gate | look | +5 | +10 | +20 |\n|---:|---:|---:|---:|---:|")
    for images in (200, 1000):
        for look in (1, 5, 20):
            found = (percent(np.array([is_found(i, images, gain, look) for i in range(TRIALS)])) for gain in GAINS)
            print(f"| {images} | {look} | {' | '.join(f'{share:.0f}' for share in found)} |", flush=True)


if __name__ == "__main__":
    main()
