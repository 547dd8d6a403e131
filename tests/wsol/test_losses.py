"""Regularizers from their formulas, written out."""

import math

import pytest
import torch
from torch.nn import functional as F

from pipeline.wsol.losses import entropy, kl_uniform, none, regularized_cross_entropy


@pytest.fixture
def logits():
    return torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=False)


def test_entropy_of_uniform_is_log_c_and_of_certainty_zero():
    torch.testing.assert_close(entropy(torch.zeros(1, 8)), torch.tensor([math.log(8)]))
    assert entropy(torch.tensor([[100.0, 0.0, 0.0]])).item() == pytest.approx(0, abs=1e-12)


def test_kl_uniform_by_hand():
    p = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    by_hand = sum(1 / 3 * math.log((1 / 3) / q) for q in (0.7, 0.2, 0.1))
    assert kl_uniform(p.log()).item() == pytest.approx(by_hand, abs=1e-14)


def test_kl_uniform_is_torchs_kl_of_the_same_order(logits):
    uniform = torch.full_like(logits, 1 / 7)
    expected = F.kl_div(F.log_softmax(logits, dim=1), uniform, reduction="none").sum(dim=1)
    torch.testing.assert_close(kl_uniform(logits), expected)
    assert (kl_uniform(logits) > 0).all()


def test_kl_uniform_is_zero_at_uniform_and_its_minimum(logits):
    assert kl_uniform(torch.full((1, 4), 3.0)).abs().item() < 1e-6
    flat = torch.zeros(1, 7, dtype=torch.float64, requires_grad=True)
    kl_uniform(flat).sum().backward()
    assert flat.grad.abs().max() < 1e-16


def test_a_descent_step_on_the_penalty_raises_entropy(logits):
    """The sign is plus: less penalty is closer to uniform."""
    point = logits.clone().requires_grad_()
    kl_uniform(point).mean().backward()
    assert entropy(logits - point.grad).mean() > entropy(logits).mean()


@pytest.mark.parametrize("weight", [1e-4, 0.1, 2.0])
def test_label_smoothing_identity_with_gradients(logits, weight):
    """CE + λ·KL(u‖p) = (1+λ)·CE_smoothed(ε = λ/(1+λ)) − λ·log C."""
    labels = torch.tensor([0, 3, 6, 1, 1])
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    loss, _, _ = regularized_cross_entropy(ours, labels, kl_uniform, weight)
    smoothed = F.cross_entropy(theirs, labels, label_smoothing=weight / (1 + weight))
    expected = (1 + weight) * smoothed - weight * math.log(7)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12)


def test_no_regularizer_is_plain_cross_entropy(logits):
    labels = torch.tensor([0, 3, 6, 1, 1])
    loss, cross_entropy, penalty = regularized_cross_entropy(logits, labels, none, 5.0)
    assert loss.item() == cross_entropy.item() == F.cross_entropy(logits, labels).item()
    assert penalty.item() == 0
