"""Regularizers from their formulas, written out."""

import math

import pytest
import torch
from torch.nn import functional as F

from pipeline.training.losses import (
    REGULARIZERS,
    confidence_penalty,
    entropy,
    jeffreys,
    jensen_shannon,
    kl_uniform,
    kl_uniform_sum,
    label_smoothing,
    regularized_cross_entropy,
)

LABELS = torch.tensor([0, 3, 6, 1, 1])
#: Three distributions over three classes, the last one uniform, and what is written out by hand from them.
P = [(0.7, 0.2, 0.1), (0.98, 0.01, 0.01), (1 / 3, 1 / 3, 1 / 3)]
U = (1 / 3, 1 / 3, 1 / 3)


@pytest.fixture
def logits():
    return torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=False)


def test_entropy_of_uniform_is_log_c_and_of_certainty_zero():
    torch.testing.assert_close(entropy(torch.zeros(1, 8)), torch.tensor([math.log(8)]))
    assert entropy(torch.tensor([[100.0, 0.0, 0.0]])).item() == pytest.approx(0, abs=1e-12)


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def jsd(p, q):
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return (kl(p, middle) + kl(q, middle)) / 2


BY_HAND = {
    "none": lambda p: 0.0,
    "kl_uniform": lambda p: kl(U, p),
    "kl_uniform_sum": lambda p: 3 * kl(U, p),
    "confidence_penalty": lambda p: sum(a * math.log(a) for a in p),
    "jeffreys": lambda p: kl(U, p) + kl(p, U),
    "jensen_shannon": lambda p: jsd(U, p),
    "label_smoothing": lambda p: -sum(math.log(a) for a in p) / 3,
}


@pytest.mark.parametrize("name", REGULARIZERS)
def test_each_regularizer_is_its_formula_sample_by_sample(name):
    found = REGULARIZERS[name](torch.tensor(P, dtype=torch.float64).log() + 5.0)
    expected = torch.tensor([BY_HAND[name](p) for p in P], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


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
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    loss, _, _ = regularized_cross_entropy(ours, LABELS, "kl_uniform", weight)
    smoothed = F.cross_entropy(theirs, LABELS, label_smoothing=weight / (1 + weight))
    expected = (1 + weight) * smoothed - weight * math.log(7)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12)


def test_no_regularizer_is_plain_cross_entropy(logits):
    loss, cross_entropy, penalty = regularized_cross_entropy(logits, LABELS, "none", 5.0)
    assert loss.item() == cross_entropy.item() == F.cross_entropy(logits, LABELS).item()
    assert penalty.item() == 0


@pytest.mark.parametrize("name", sorted(set(REGULARIZERS) - {"none"}))
def test_uniform_is_the_minimum(name, logits):
    flat = torch.zeros(1, 7, dtype=torch.float64, requires_grad=True)
    least = REGULARIZERS[name](flat).sum()
    least.backward()
    assert flat.grad.abs().max() < 1e-15
    assert (REGULARIZERS[name](logits) > least).all()


def test_divergences_vanish_at_uniform():
    for divergence in (kl_uniform, kl_uniform_sum, jeffreys, jensen_shannon):
        assert divergence(torch.full((1, 4), 3.0, dtype=torch.float64)).abs().item() < 1e-14


def test_relations_between_the_regularizers(logits):
    def kl_to_uniform(x):
        return F.kl_div(torch.full_like(x, -math.log(7)), F.log_softmax(x, dim=1), log_target=True, reduction="none")

    torch.testing.assert_close(confidence_penalty(logits), kl_to_uniform(logits).sum(dim=1) - math.log(7))
    torch.testing.assert_close(jeffreys(logits), kl_uniform(logits) + kl_to_uniform(logits).sum(dim=1))
    torch.testing.assert_close(kl_uniform_sum(logits), 7 * kl_uniform(logits), rtol=0, atol=0)


def test_jensen_shannon_stays_below_log_2_where_jeffreys_does_not():
    certain = torch.zeros(1, 1000, dtype=torch.float64)
    certain[0, 0] = 1e4
    assert 0.98 * math.log(2) < jensen_shannon(certain).item() < math.log(2)
    assert jeffreys(certain).item() > 1000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", REGULARIZERS)
def test_extreme_logits_give_finite_values_and_gradients(name, dtype):
    point = torch.tensor([[1e4, 0.0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4]], dtype=dtype, requires_grad=True)
    loss, _, penalty = regularized_cross_entropy(point, torch.tensor([2, 0, 1]), name, 0.5)
    loss.backward()
    assert torch.isfinite(torch.stack([loss, penalty])).all()
    assert torch.isfinite(point.grad).all()


@pytest.mark.parametrize("name", REGULARIZERS)
def test_gradients_are_those_of_finite_differences(name, logits):
    assert torch.autograd.gradcheck(
        lambda x: regularized_cross_entropy(x, LABELS, name, 0.3)[0], logits.clone().requires_grad_()
    )


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_label_smoothing_is_cross_entropy_against_the_smoothed_target(logits, epsilon):
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    loss, cross_entropy, penalty = regularized_cross_entropy(ours, LABELS, "label_smoothing", epsilon)
    target = (1 - epsilon) * F.one_hot(LABELS, 7).double() + epsilon / 7
    expected = -(target * F.log_softmax(theirs, dim=1)).sum(dim=1).mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-14)
    assert cross_entropy.item() == F.cross_entropy(logits, LABELS).item()
    assert penalty.item() == label_smoothing(logits).mean().item()
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-15)


def test_label_smoothing_above_one_is_refused_and_other_weights_are_free(logits):
    with pytest.raises(ValueError, match=r"must not exceed 1, found 1\.5"):
        regularized_cross_entropy(logits, LABELS, "label_smoothing", 1.5)
    loss, cross_entropy, penalty = regularized_cross_entropy(logits, LABELS, "jeffreys", 1.5)
    assert loss.item() == pytest.approx(cross_entropy.item() + 1.5 * penalty.item(), abs=1e-14)
