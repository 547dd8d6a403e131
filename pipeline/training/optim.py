"""Optimizer and learning-rate schedule."""

import math

import torch
from torch.optim import SGD

from pipeline.models.localizer import Localizer

#: Share of the steps in which the learning rate rises linearly from zero.
WARM_UP = 0.05


def build_optimizer(network: Localizer, lr: float, head_lr_factor: float, momentum: float, weight_decay: float) -> SGD:
    """SGD with Nesterov momentum; the head has a learning rate of its own. Frozen parameters are left out."""
    groups = [
        {"params": [p for p in network.backbone.parameters() if p.requires_grad], "base_lr": lr},
        {"params": list(network.head.parameters()), "base_lr": lr * head_lr_factor},
    ]
    return SGD(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=True)


def schedule_factor(step: int, total: int) -> float:
    """What the base learning rates are multiplied by at a step: linear warm-up, then half a cosine down to zero."""
    warm_up = max(1, round(WARM_UP * total))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Scale every group's base learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
