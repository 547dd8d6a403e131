"""A batch of training images with its labels, after erasing and mixing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from pipeline.models.adversarial_erasing import erase_found
from pipeline.models.localizer import Localizer
from pipeline.params import TrainParams
from pipeline.training.erasing import cutmix, hide_and_seek
from pipeline.training.objective import objective


@dataclass(frozen=True)
class Batch:
    """Images ``(N, 3, H, W)``, labels ``(N,)`` or ``(N, C)``; of mixed ones also the others and the first's share."""

    images: Tensor
    labels: Tensor
    others: Tensor
    share: float = 1.0

    def parts(self, count: int) -> list["Batch"]:
        """Split into ``count`` batches of nearly equal size."""
        images, labels, others = (t.tensor_split(count) for t in (self.images, self.labels, self.others))
        return [Batch(*part, self.share) for part in zip(images, labels, others, strict=True)]


def erased(
    images: Tensor, labels: Tensor, settings: TrainParams, earlier: Sequence[Localizer], network: Localizer,
    rng: np.random.Generator,
) -> Batch:  # fmt: skip
    """Erase from or mix the images as ``train.erasing`` says; what happens inside the network is not done here.

    Args:
        earlier: networks of adversarial erasing that were trained before this one.
        network: its mean colour fills what is hidden.
    """
    batch = Batch(images, labels, labels)
    if settings.erasing == "has":
        hidden = hide_and_seek(images, settings.has_rate, settings.has_sides, network.mean.flatten(), rng)
        return replace(batch, images=hidden)
    if settings.erasing == "cutmix":
        mixed, permutation, share = cutmix(images, settings.cutmix_beta, settings.cutmix_probability, rng)
        return Batch(mixed, labels, labels[permutation.to(labels.device)], share)
    for found in earlier:
        images = erase_found(found, images, labels, settings.ae_threshold, settings.precision)
    return replace(batch, images=images)


def loss_terms(logits: Tensor, batch: Batch, regularizer: str, weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, cross-entropy and regularizer, scalars, summed over the head's branches.

    Args:
        logits: ``(B, N, C)`` of the branches.
    """
    terms = [_mixed_terms(branch, batch, regularizer, weight) for branch in logits]
    loss, cross_entropy, penalty = (sum(values[1:], values[0]) for values in zip(*terms, strict=True))
    return loss, cross_entropy, penalty


def _mixed_terms(logits: Tensor, batch: Batch, regularizer: str, weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of each image's labels, weighted by its share of the pixels (CutMix, ICCV 2019, equation 2)."""
    terms = objective(logits, batch.labels, regularizer, weight)
    if batch.share == 1:
        return terms
    others = objective(logits, batch.others, regularizer, weight)
    loss, cross_entropy, penalty = (
        batch.share * one + (1 - batch.share) * other for one, other in zip(terms, others, strict=True)
    )
    return loss, cross_entropy, penalty
