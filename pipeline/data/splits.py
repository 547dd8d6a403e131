"""Setting val aside from train."""

from collections import defaultdict
from dataclasses import replace

import numpy as np

from pipeline.data.source import Sample


def with_val(samples: list[Sample], fraction: float, seed: int) -> list[Sample]:
    """Move ``fraction`` of the training images of each class to ``val``, drawn by ``seed``; order is kept.

    Stratified by the first label. A data set that has its own ``val`` is returned as it is.
    """
    if any(sample.split == "val" for sample in samples):
        return samples
    by_class = defaultdict(list)
    for position, sample in enumerate(samples):
        if sample.split == "train":
            by_class[sample.labels[0]].append(position)
    rng = np.random.default_rng(seed)
    chosen = {
        int(position)
        for label in sorted(by_class)
        for position in rng.permutation(by_class[label])[: round(fraction * len(by_class[label]))]
    }
    return [replace(s, split="val") if position in chosen else s for position, s in enumerate(samples)]
