"""Several labels: a sigmoid for each class, and what is made of it."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipeline.training.batch import Batch, loss_terms
from pipeline.training.losses import REGULARIZERS, regularized_soft_margin, soft_margin, two_way
from pipeline.training.objective import correct, guessing, loss_sum, objective, uncertainty
from tests.training.trainings import small_trainer, two_colours

LABELS = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, -1]])


@pytest.fixture
def logits():
    return torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_soft_margin_is_torchs_where_all_is_certain(logits):
    found = soft_margin(logits[:2], LABELS[:2])
    torch.testing.assert_close(found.mean(), F.multilabel_soft_margin_loss(logits[:2], LABELS[:2].double()))


def test_an_uncertain_class_pulls_neither_way(logits):
    logits.requires_grad_()
    soft_margin(logits, LABELS).sum().backward()
    assert logits.grad[2, 2] == 0
    assert (logits.grad != 0).sum() == 8


def test_each_class_has_a_distribution_of_its_own(logits):
    p = logits.sigmoid()
    by_hand = -(p * p.log() + (1 - p) * (1 - p).log()).mean(dim=1)
    torch.testing.assert_close(uncertainty(logits, LABELS), by_hand)
    kl = (-math.log(2) - (p.log() + (1 - p).log()) / 2).mean(dim=1)
    torch.testing.assert_close(two_way(REGULARIZERS["kl_uniform"], logits), kl)


@pytest.mark.parametrize("name", [name for name in REGULARIZERS if name not in ("none", "label_smoothing")])
def test_regularizers_are_least_where_nothing_is_known(name, logits):
    least = two_way(REGULARIZERS[name], torch.zeros(1, 3, dtype=torch.float64))
    assert (two_way(REGULARIZERS[name], logits) > least).all()


def test_label_smoothing_is_the_loss_against_smoothed_targets(logits):
    certain = LABELS.clamp(min=0)
    loss, _, _ = regularized_soft_margin(logits, certain, "label_smoothing", 0.2)
    smoothed = 0.8 * certain.double() + 0.1
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, smoothed))


def test_mixed_images_have_the_labels_of_both_by_their_shares(logits):
    others = LABELS.clamp(min=0)[[1, 2, 0]]
    batch = Batch(torch.zeros(3), LABELS.clamp(min=0), others, share=0.7)
    loss, _, _ = loss_terms(logits[None], batch, "none", 0.0)
    targets = 0.7 * batch.labels.double() + 0.3 * others.double()
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, targets))


def test_the_best_class_is_right_where_the_image_shows_it():
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0], [0.0, 0.0, 5.0]])
    assert correct(logits, LABELS).tolist() == [True, False, False]
    assert correct(logits, torch.tensor([2, 1, 2])).tolist() == [True, False, True]


def test_one_label_is_trained_as_before(logits):
    labels = torch.tensor([0, 2, 1])
    torch.testing.assert_close(objective(logits, labels, "none", 0.0)[0], F.cross_entropy(logits, labels))
    torch.testing.assert_close(loss_sum(logits, labels), F.cross_entropy(logits, labels, reduction="sum"))


def test_guessing():
    assert guessing(np.array([0, 1, 2, 2])) == pytest.approx(math.log(3))
    assert guessing(LABELS.numpy()) == pytest.approx(math.log(2))


@pytest.mark.parametrize("changes", [{}, {"erasing": "cutmix"}, {"regularizer": "jensen_shannon", "accumulate": 2}])
def test_a_training_with_several_labels_learns_them(tmp_path, monkeypatch, changes):
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    images = two_colours(tmp_path / "images")
    several = type(images)(images.paths, np.stack([images.labels, np.ones(10, np.int64)], axis=1))
    rows = small_trainer(epochs=6, lr=0.1, **changes).fit(several, several)
    assert rows[-1]["val_loss"] < rows[0]["val_loss"] < math.log(2) * 2
    assert rows[-1]["val_accuracy"] == 100  # the second class is in every image
