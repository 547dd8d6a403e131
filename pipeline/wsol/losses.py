"""Classification losses with a regularizer on the predictive distribution.

Throughout, ``logits`` is ``(N, C)``, ``labels`` ``(N,)`` int64, ``p = softmax(logits)``, ``u`` the uniform
distribution over the ``C`` classes, and every regularizer returns one value per sample, ``(N,)``, in nats.
"""

import math
from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F


def entropy(logits: Tensor) -> Tensor:
    """Entropy ``H(p)`` of the prediction, between 0 and ``log C``."""
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def kl_uniform(logits: Tensor) -> Tensor:
    """``KL(u‖p) = −log C − (1/C) Σ_c log p_c``: grows without bound as any class is ruled out.

    Added with a plus sign it pulls predictions towards uniform (Hwang et al., "Entropy regularization for weakly
    supervised object localization", Pattern Recognition Letters 2023).
    """
    return -F.log_softmax(logits, dim=1).mean(dim=1) - math.log(logits.shape[1])


def none(logits: Tensor) -> Tensor:
    """No regularizer: zero for every sample."""
    return logits.new_zeros(logits.shape[0])


REGULARIZERS: dict[str, Callable[[Tensor], Tensor]] = {"kl_uniform": kl_uniform, "none": none}


def regularized_cross_entropy(
    logits: Tensor, labels: Tensor, regularizer: Callable[[Tensor], Tensor], weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``CE(y, p) + λ·R(p)``, averaged over the batch, with its two terms.

    Args:
        weight: λ.

    Returns:
        ``(loss, cross entropy, regularizer)``, scalars; the regularizer without its weight.
    """
    cross_entropy = F.cross_entropy(logits, labels)
    penalty = regularizer(logits).mean()
    return cross_entropy + weight * penalty, cross_entropy, penalty
