"""Learning rates and parameter groups."""

from itertools import pairwise

import pytest
import torch

from pipeline.models.localizer import build_localizer
from pipeline.models.zoo import BACKBONES
from pipeline.training.optim import build_optimizer, schedule_factor, set_learning_rate
from tests.training.trainings import settings, small_network

ONE_EPOCH = 100


def factors(**changes):
    chosen = settings(**({"epochs": 1} | changes))
    return [schedule_factor(step, ONE_EPOCH // chosen.epochs, chosen) for step in range(ONE_EPOCH)]


def test_cosine_rises_then_falls_to_zero():
    found = factors(schedule="cosine", warm_up=0.05)
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert found[5] == 1.0
    assert all(a > b for a, b in pairwise(found[5:]))
    assert found[-1] < 0.001
    assert found[52] == pytest.approx(0.5, abs=0.01)


def test_without_warm_up_the_first_step_is_taken_at_the_full_rate():
    assert factors(schedule="cosine", warm_up=0.0)[0] == 1.0


def test_step_falls_after_the_named_epochs():
    found = factors(schedule="step", epochs=10, step_epochs=[3, 7], step_factor=0.1, warm_up=0.0)
    assert found[:30] == [1.0] * 30
    assert found[30:70] == pytest.approx([0.1] * 40)
    assert found[70:] == pytest.approx([0.01] * 30)


def test_one_cycle_is_that_of_the_library():
    """Momentum is not cycled here."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    library = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=ONE_EPOCH, cycle_momentum=False)
    expected = []
    for _ in range(ONE_EPOCH):
        expected.append(library.get_last_lr()[0])
        optimizer.step()
        library.step()
    assert factors(schedule="one_cycle") == pytest.approx(expected, rel=1e-9)
    assert max(expected) == 1.0


@pytest.mark.parametrize("schedule", ["cosine", "step", "one_cycle"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_training_of_few_steps_has_rates_all_the_same(schedule, steps):
    chosen = settings(schedule=schedule, epochs=1, step_epochs=[1], warm_up=0.5)
    assert all(0 < schedule_factor(step, steps, chosen) <= 1 for step in range(steps))


def test_groups_have_their_rates_and_only_weights_decay():
    chosen = settings(lr=0.1, head_lr_factor=10.0, bias_lr_factor=2.0, weight_decay=5e-4)
    network = small_network(chosen)
    network.backbone[1].requires_grad_(False)
    optimizer = build_optimizer(network, chosen)
    set_learning_rate(optimizer, 0.5)
    found = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    expected = {
        id(network.backbone[0].weight): (0.05, 5e-4),
        id(network.backbone[0].bias): (0.1, 0.0),
        id(network.backbone[3].weight): (0.05, 5e-4),
        id(network.backbone[3].bias): (0.1, 0.0),
        id(network.backbone[4].weight): (0.05, 0.0),
        id(network.backbone[4].bias): (0.1, 0.0),
        id(network.head.weight): (0.5, 5e-4),
        id(network.head.bias): (1.0, 0.0),
    }
    assert found == expected


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_the_optimizer_asked_for(name, kind):
    chosen = settings(optimizer=name, momentum=0.8)
    group = build_optimizer(small_network(chosen), chosen).param_groups[0]
    assert type(build_optimizer(small_network(chosen), chosen)) is kind
    assert group["nesterov"] and group["momentum"] == 0.8 if name == "sgd" else group["betas"] == (0.8, 0.999)


def test_layers_without_library_weights_learn_at_the_rate_of_the_head():
    chosen = settings(backbone="vgg16_conv1024", lr=0.1, head_lr_factor=10.0)
    network = build_localizer(chosen.model_dump() | {"classes": 2})
    rates = {
        id(p): group["base_lr"] for group in build_optimizer(network, chosen).param_groups for p in group["params"]
    }
    untrained = BACKBONES["vgg16_conv1024"].untrained
    found = {name: rates[id(p)] for name, p in network.backbone.named_parameters()}
    assert {found[name] for name in found if name.startswith(untrained)} == {1.0}
    assert {found[name] for name in found if not name.startswith(untrained)} == {0.1}
    assert rates[id(network.head.weight)] == 1.0
