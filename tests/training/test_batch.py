"""What the settings of erasing, mixing and branches make of a batch and of its loss."""

import math

import numpy as np
import pytest
import torch

from pipeline.models.adversarial_erasing import erase_found
from pipeline.training.batch import Batch, erased, loss_terms
from pipeline.training.erasing import cutmix, hide_and_seek
from tests.training.trainings import settings, small_network, small_trainer

LABELS, OTHERS = torch.tensor([0, 2, 1]), torch.tensor([3, 0, 1])
NOTHING = torch.zeros(3, 3, 4, 4)


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rng():
    return np.random.default_rng(7)


def cross_entropy(logits, labels):
    """Mean over images, by its definition."""
    found = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        found += math.log(sum(map(math.exp, row))) - row[label]
    return found / len(labels)


def kl_from_uniform(logits):
    """KL(u‖p), mean over images, by its definition."""
    found = 0.0
    for row in logits.tolist():
        total = sum(map(math.exp, row))
        found += sum(math.log(total / len(row)) - value for value in row) / len(row)
    return found / len(logits)


def test_the_loss_is_the_sum_over_the_branches():
    logits = 4 * random(2, 3, 4)
    loss, ce, penalty = loss_terms(logits, Batch(NOTHING, LABELS, LABELS), "kl_uniform", 0.3)
    by_hand = [sum(map(kl_from_uniform, logits)), sum(cross_entropy(branch, LABELS) for branch in logits)]
    assert penalty.item() == pytest.approx(by_hand[0], abs=1e-12)
    assert ce.item() == pytest.approx(by_hand[1], abs=1e-12)
    assert loss.item() == pytest.approx(by_hand[1] + 0.3 * by_hand[0], abs=1e-12)


def test_the_labels_of_a_mixed_image_weigh_as_their_share_of_it():
    logits = 4 * random(1, 3, 4)
    loss, ce, penalty = loss_terms(logits, Batch(NOTHING, LABELS, OTHERS, share=0.3), "none", 0.0)
    by_hand = 0.3 * cross_entropy(logits[0], LABELS) + 0.7 * cross_entropy(logits[0], OTHERS)
    assert loss.item() == ce.item() == pytest.approx(by_hand, abs=1e-12)
    assert penalty.item() == 0


def images_of(count=3):
    """Each of one grey value, its label."""
    return torch.arange(count).float().view(count, 1, 1, 1).expand(count, 3, 32, 32).clone()


def after(chosen, images, labels, earlier=()):
    return erased(images, labels, chosen, earlier, small_network(chosen), rng())


@pytest.mark.parametrize(("rate", "side", "share"), [(1.0, 8, 1.0), (0.0, 8, 0.0), (1.0, 0, 0.0)])
def test_hide_and_seek_takes_rate_and_side_from_the_settings(rate, side, share):
    chosen = settings(erasing="has", has_rate=rate, has_sides=[side])
    images = images_of()
    batch = after(chosen, images, LABELS)
    mean = small_network(chosen).mean.expand_as(images)
    torch.testing.assert_close(batch.images, mean if share else images)
    assert batch.share == 1


def test_hide_and_seek_hides_as_the_function_does_with_these_settings():
    chosen = settings(erasing="has", has_rate=0.4, has_sides=[5, 11])
    mean = small_network(chosen).mean.flatten()
    expected = hide_and_seek(images_of(), 0.4, [5, 11], mean, rng())
    assert torch.equal(after(chosen, images_of(), LABELS).images, expected)


def test_cutmix_mixes_as_the_function_does_with_these_settings():
    chosen = settings(erasing="cutmix", cutmix_beta=0.7, cutmix_probability=1.0)
    labels = torch.arange(3)
    batch = after(chosen, images_of(), labels)
    mixed, permutation, share = cutmix(images_of(), 0.7, 1.0, rng())
    assert torch.equal(batch.images, mixed) and batch.share == share
    assert torch.equal(batch.labels, labels) and torch.equal(batch.others, labels[permutation])


@pytest.mark.parametrize("beta", [0.3, 1.0, 5.0])
def test_the_share_of_a_mixed_image_is_that_of_its_own_pixels(beta):
    batch = after(settings(erasing="cutmix", cutmix_beta=beta, cutmix_probability=1.0), images_of(8), torch.arange(8))
    for image, label, other in zip(batch.images, batch.labels, batch.others, strict=True):
        assert set(image.unique().tolist()) <= {float(label), float(other)}
        if label != other:
            assert (image == label).double().mean().item() == pytest.approx(batch.share)


def test_cutmix_that_is_never_drawn_leaves_the_batch_as_it_is():
    batch = after(settings(erasing="cutmix", cutmix_probability=0.0), images_of(), LABELS)
    assert torch.equal(batch.images, images_of()) and batch.share == 1


def test_adversarial_erasing_hides_what_every_earlier_network_finds():
    chosen = settings(erasing="ae", ae_threshold=0.6)
    torch.manual_seed(0)
    earlier = [small_network(chosen, norm=False).eval() for _ in range(2)]
    images = 255 * random(2, 3, 32, 32).float()
    labels = torch.tensor([0, 1])
    once = erase_found(earlier[0], images, labels, 0.6)
    twice = erase_found(earlier[1], once, labels, 0.6)
    assert not torch.equal(once, images) and not torch.equal(twice, once)
    assert torch.equal(after(chosen, images, labels, earlier).images, twice)


def test_the_network_is_told_the_labels_and_both_branches_learn(monkeypatch):
    trainer = small_trainer(head="acol", norm=False)
    head, told = trainer.network.head, []
    forward = head.forward
    monkeypatch.setattr(head, "forward", lambda features, labels: (told.append(labels), forward(features, labels))[1])
    before = {name: value.clone() for name, value in head.named_parameters()}
    labels = torch.tensor([0, 1, 1, 0])
    trainer._train_step(Batch(255 * random(4, 3, 32, 32).float(), labels, labels))
    assert [value.tolist() for value in told] == [labels.tolist()]
    moved = {name.split(".")[0] for name, value in head.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"first", "second"}
