"""Learning rates and parameter groups."""

from itertools import pairwise

import pytest

from pipeline.models.localizer import build_localizer
from pipeline.training.optim import build_optimizer, schedule_factor, set_learning_rate


def test_schedule_rises_then_falls_to_zero():
    factors = [schedule_factor(step, 100) for step in range(100)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5] == 1.0
    assert all(a > b for a, b in pairwise(factors[5:]))
    assert factors[-1] < 0.001
    assert schedule_factor(52, 100) == pytest.approx(0.5, abs=0.01)


def test_a_single_step_is_taken_at_the_full_rate():
    assert schedule_factor(0, 1) == 1.0


def test_the_head_has_its_own_rate_and_frozen_parameters_none():
    network = build_localizer({"backbone": "resnet18", "head": "gap", "classes": 2})
    network.backbone.bn1.requires_grad_(False)
    optimizer = build_optimizer(network, lr=0.1, head_lr_factor=10, momentum=0.9, weight_decay=5e-4)
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.5]
    backbone, head = ({id(p) for p in group["params"]} for group in optimizer.param_groups)
    assert head == {id(p) for p in network.head.parameters()}
    assert backbone == {id(p) for p in network.backbone.parameters() if p.requires_grad}
    assert all(group["nesterov"] and group["weight_decay"] == 5e-4 for group in optimizer.param_groups)
