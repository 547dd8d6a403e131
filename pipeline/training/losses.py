"""Classification losses with a regularizer on the predictive distribution.

Throughout, ``logits`` is ``(N, C)``, ``labels`` ``(N,)`` int64, ``p = softmax(logits)``, ``u`` the uniform
distribution over the ``C`` classes, and every regularizer returns one value per sample, ``(N,)``, in nats.

Where an image may have several labels, ``labels`` is ``(N, C)`` int64 (1 present, 0 not, -1 uncertain) and each class
has a distribution of its own: there, or not, with ``p_c = sigmoid(logit)``. What is a function of one distribution is
then the mean of the classes' values.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def entropy(logits: Tensor) -> Tensor:
    """Entropy ``H(p)`` of the prediction, between 0 and ``log C``."""
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def none(logits: Tensor) -> Tensor:
    """No regularizer: zero for every sample."""
    return logits.new_zeros(logits.shape[0])


def kl_uniform(logits: Tensor) -> Tensor:
    """``KL(u‖p) = −log C − (1/C) Σ_c log p_c``: grows without bound as any class is ruled out.

    Added with a plus sign it pulls predictions towards uniform (Hwang et al., "Entropy regularization for weakly
    supervised object localization", Pattern Recognition Letters 2023).
    """
    return label_smoothing(logits) - math.log(logits.shape[1])


def kl_uniform_sum(logits: Tensor) -> Tensor:
    """``C·KL(u‖p)``: the same paper read with a sum over the classes where :func:`kl_uniform` has their mean."""
    return logits.shape[1] * kl_uniform(logits)


def confidence_penalty(logits: Tensor) -> Tensor:
    """``−H(p) = KL(p‖u) − log C``, between ``−log C`` and 0.

    Pereyra et al., "Regularizing neural networks by penalizing confident output distributions", ICLR workshop 2017.
    """
    return -entropy(logits)


def jeffreys(logits: Tensor) -> Tensor:
    """``KL(u‖p) + KL(p‖u) = Σ_c (p_c − 1/C)·log p_c``: Jeffreys' divergence, unbounded.

    Jeffreys, "An invariant form for the prior probability in estimation problems", Proc. R. Soc. A 1946. Some of the
    literature calls it the Jensen-Shannon divergence, which is :func:`jensen_shannon`.
    """
    log_p = F.log_softmax(logits, dim=1)
    return ((log_p.exp() - 1 / logits.shape[1]) * log_p).sum(dim=1)


def jensen_shannon(logits: Tensor) -> Tensor:
    """``½·KL(u‖m) + ½·KL(p‖m)`` with ``m = ½(u + p)``: the Jensen-Shannon divergence, below ``log 2``.

    Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 1991.
    """
    log_p = F.log_softmax(logits, dim=1)
    log_u = log_p.new_full((), -math.log(logits.shape[1]))
    log_m = torch.logaddexp(log_p, log_u) - math.log(2)
    return ((log_u - log_m).mean(dim=1) + (log_p.exp() * (log_p - log_m)).sum(dim=1)) / 2


def label_smoothing(logits: Tensor) -> Tensor:
    """``−(1/C) Σ_c log p_c``: cross-entropy against uniform, the share ``ε`` of a smoothed target.

    Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016, section 7.
    """
    return -F.log_softmax(logits, dim=1).mean(dim=1)


REGULARIZERS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": none,
    "kl_uniform": kl_uniform,
    "kl_uniform_sum": kl_uniform_sum,
    "confidence_penalty": confidence_penalty,
    "jeffreys": jeffreys,
    "jensen_shannon": jensen_shannon,
    "label_smoothing": label_smoothing,
}


def regularized_cross_entropy(
    logits: Tensor, labels: Tensor, regularizer: str, weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``CE(y, p) + λ·R(p)``, averaged over the batch, with its two terms.

    With ``label_smoothing`` it is ``(1 − ε)·CE(y, p) + ε·R(p)``: cross-entropy against ``(1 − ε)·onehot + ε·u``.

    Args:
        regularizer: a name in :data:`REGULARIZERS`.
        weight: λ, or ε of label smoothing.

    Returns:
        ``(loss, cross entropy, regularizer)``, scalars; the regularizer without its weight.

    Raises:
        ValueError: ε above 1, which is not a distribution.
    """
    smoothing = regularizer == "label_smoothing"
    if smoothing and weight > 1:
        raise ValueError(f"label smoothing mixes two distributions: its weight must not exceed 1, found {weight}")
    cross_entropy = F.cross_entropy(logits, labels)
    penalty = REGULARIZERS[regularizer](logits).mean()
    share = 1 - weight if smoothing else 1.0
    return share * cross_entropy + weight * penalty, cross_entropy, penalty


def two_way(function: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """The mean ``(N,)`` over the classes of a function of the distribution (there, not there) of each.

    Args:
        function: ``(M, 2)`` logits → ``(M,)``, such as a regularizer.
    """
    pairs = torch.stack([logits, torch.zeros_like(logits)], dim=-1)  # softmax((z, 0)) = (sigmoid(z), 1 − sigmoid(z))
    return function(pairs.flatten(0, 1)).view_as(logits).mean(dim=1)


def soft_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Multi-label soft margin loss ``(N,)``: the mean over the classes of ``−log p_c``, ``−log(1 − p_c)`` where absent.

    An uncertain class adds nothing.
    """
    each = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).to(logits), reduction="none")
    return torch.where(labels >= 0, each, 0).mean(dim=1)


def regularized_soft_margin(
    logits: Tensor, labels: Tensor, regularizer: str, weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`regularized_cross_entropy` for several labels: each class's own distribution is regularized.

    The papers regularize one distribution over all classes; that each class's is drawn towards ``(½, ½)`` is the same
    formula with ``C = 2``, averaged over the classes.
    """
    loss = soft_margin(logits, labels).mean()
    penalty = two_way(REGULARIZERS[regularizer], logits).mean()
    share = 1 - weight if regularizer == "label_smoothing" else 1.0
    return share * loss + weight * penalty, loss, penalty
