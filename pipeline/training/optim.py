"""Optimizer and learning-rate schedule."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW

from pipeline.models.localizer import Localizer
from pipeline.models.zoo import BACKBONES
from pipeline.params import TrainParams

#: One cycle (Smith, 2018) with the values of ``torch.optim.lr_scheduler.OneCycleLR``: share of the steps in which the
#: rate rises, and what the full rate is divided by at the start and at the end.
ONE_CYCLE = (0.3, 25.0, 25.0 * 1e4)


def build_optimizer(network: Localizer, settings: TrainParams) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW (Loshchilov and Hutter, ICLR 2019).

    Backbone and head, weights and biases are groups of their own; what no library has weights for goes with the head.
    Norms and biases do not decay; frozen parameters are left out.
    """
    groups = [group for group in _groups(network, settings) if group["params"]]
    if settings.optimizer == "adamw":
        return AdamW(groups, lr=settings.lr, betas=(settings.momentum, 0.999))
    return SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=True)


def _groups(network: Localizer, settings: TrainParams) -> Iterator[dict[str, Any]]:
    untrained = BACKBONES[settings.backbone].untrained
    new = [(name, p) for name, p in network.named_parameters() if _is_new(name, untrained)]
    old = [(name, p) for name, p in network.named_parameters() if not _is_new(name, untrained)]
    for part, factor in ((old, 1.0), (new, settings.head_lr_factor)):
        weights, norms, biases = _split(part)
        rate = settings.lr * factor
        yield {"params": weights, "base_lr": rate, "weight_decay": settings.weight_decay}
        yield {"params": norms, "base_lr": rate, "weight_decay": 0.0}
        yield {"params": biases, "base_lr": rate * settings.bias_lr_factor, "weight_decay": 0.0}


def _is_new(name: str, untrained: tuple[str, ...]) -> bool:
    """Whether a parameter is of the head, or of the backbone's layers that no library has weights for."""
    return not name.startswith("backbone.") or name.removeprefix("backbone.").startswith(untrained)


def _split(
    part: list[tuple[str, nn.Parameter]],
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Trained parameters: weights of linear maps, weights of norms (the only ones of one axis), biases."""
    trained = [(name, p) for name, p in part if p.requires_grad]
    biases = [p for name, p in trained if name.rpartition(".")[2] == "bias"]
    others = [p for name, p in trained if name.rpartition(".")[2] != "bias"]
    return [p for p in others if p.ndim > 1], [p for p in others if p.ndim == 1], biases


def schedule_factor(step: int, steps_per_epoch: int, settings: TrainParams) -> float:
    """What the base learning rates are multiplied by at a step, counted from 0 over all epochs."""
    total = settings.epochs * steps_per_epoch
    if settings.schedule == "one_cycle":
        return _one_cycle(step, total)
    warm_up = round(settings.warm_up * total)
    if step < warm_up:
        return (step + 1) / warm_up
    if settings.schedule == "step":
        return settings.step_factor ** sum(step >= epoch * steps_per_epoch for epoch in settings.step_epochs)
    return _half_cosine(1.0, 0.0, (step - warm_up) / max(1, total - warm_up))


def _one_cycle(step: int, total: int) -> float:
    rising, start, end = ONE_CYCLE
    peak = rising * total - 1
    if step <= peak:
        return _half_cosine(1 / start, 1.0, step / max(1.0, peak))
    return _half_cosine(1.0, 1 / end, (step - peak) / (total - 1 - peak))


def _half_cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Scale every group's base learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
