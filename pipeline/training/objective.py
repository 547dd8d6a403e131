"""What is trained for: that one class is right (softmax), or that each class is there or not (a sigmoid for each).

The labels decide: ``(N,)`` int64 where an image has one, ``(N, C)`` int64 where it may have several: 1 present, 0 not,
-1 uncertain. Logits are ``(N, C)``.
"""

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pipeline.training.losses import entropy, regularized_cross_entropy, regularized_soft_margin, soft_margin, two_way


def objective(logits: Tensor, labels: Tensor, regularizer: str, weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, the term without its regularizer, and the regularizer: scalars, see :mod:`pipeline.training.losses`."""
    terms = regularized_cross_entropy if labels.ndim == 1 else regularized_soft_margin
    return terms(logits, labels, regularizer, weight)


def loss_sum(logits: Tensor, labels: Tensor) -> Tensor:
    """The loss without its regularizer, summed over the images."""
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels, reduction="sum")
    return soft_margin(logits, labels).sum()


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """``(N,)``: whether the best class is the image's, or one of them."""
    best = logits.argmax(dim=1)
    return best == labels if labels.ndim == 1 else labels.gather(1, best[:, None])[:, 0] == 1


def uncertainty(logits: Tensor, labels: Tensor) -> Tensor:
    """``(N,)``, the entropy of the prediction in nats; of several labels the mean of the classes' entropies."""
    return entropy(logits) if labels.ndim == 1 else two_way(entropy, logits)


def guessing(labels: NDArray[np.int64]) -> float:
    """The loss of one who knows nothing, in nats."""
    return math.log(max(2, len(set(labels.tolist())))) if labels.ndim == 1 else math.log(2)
