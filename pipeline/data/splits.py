"""Setting test, val and gate aside from train."""

import hashlib
from collections import defaultdict
from dataclasses import replace

import numpy as np

from pipeline.data.source import Sample


def set_aside(samples: list[Sample], test: float, val: float, gate: float, seed: int) -> list[Sample]:
    """Move a share of the training images of each class to ``test``, and of the others to ``val`` and ``gate``.

    Order is kept. Stratified by the first label; a split that the data set has of its own is left as it is. An image's
    rank for test and gate follows from its id and the seed alone: where a few images are added, nearly all of these
    splits stays there, so that a model that was trained before has seen few of them. Val is drawn from the others.

    Args:
        test, val, gate: shares of the training images, in [0, 1).
    """
    own = {sample.split for sample in samples}
    samples = samples if "test" in own else _set_test_aside(samples, test, seed)
    val, gate = (0.0 if split in own else share for split, share in (("val", val), ("gate", gate)))
    by_class = _training_images(samples)
    rng = np.random.default_rng(seed)
    moved: dict[int, str] = {}
    for label in sorted(by_class):
        positions = by_class[label]
        ranked = sorted(positions, key=lambda position: _rank(samples[position], seed))
        kept = dict.fromkeys(ranked[: round(gate * len(positions))], "gate")
        others = [position for position in positions if position not in kept]
        moved |= kept | dict.fromkeys(map(int, rng.permutation(others)[: round(val * len(positions))]), "val")
    return [replace(s, split=moved.get(position, s.split)) for position, s in enumerate(samples)]


def _set_test_aside(samples: list[Sample], share: float, seed: int) -> list[Sample]:
    moved: set[int] = set()
    for positions in _training_images(samples).values():
        # Not gate's order: what is left for gate would be what ranks last.
        ranked = sorted(positions, key=lambda position: _rank(samples[position], f"{seed} test"))
        moved |= set(ranked[: round(share * len(positions))])
    return [replace(s, split="test" if position in moved else s.split) for position, s in enumerate(samples)]


def _training_images(samples: list[Sample]) -> dict[int, list[int]]:
    """Positions of the training images by their first label, -1 where they have none."""
    by_class = defaultdict(list)
    for position, sample in enumerate(samples):
        if sample.split == "train":
            by_class[sample.labels[0] if sample.labels else -1].append(position)
    return by_class


def _rank(sample: Sample, seed: int | str) -> str:
    return hashlib.sha256(f"{seed} {sample.image_id}".encode()).hexdigest()
