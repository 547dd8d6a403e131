import numpy as np
import pytest

from pipeline.evaluation.label_masks import (
    BACKGROUND,
    IGNORED,
    Confusion,
    ThresholdedConfusion,
    centred_box,
    label_mask,
    strongest,
)

B, V = BACKGROUND, IGNORED
SCORES = np.array([[[0.9, 0.4, 0.1]], [[0.2, 0.5, 0.1]]])
CLASSES = np.array([3, 5])


def test_the_strongest_class_takes_the_pixel_and_the_weak_are_background():
    assert label_mask(SCORES, CLASSES, 0.3).tolist() == [[3, 5, B]]
    assert label_mask(SCORES, CLASSES, 0.5).tolist() == [[3, B, B]]  # strictly above
    assert label_mask(np.zeros((0, 1, 3)), np.zeros(0, int), 0.3).tolist() == [[B, B, B]]


def test_mean_iou_by_hand():
    confusion = Confusion(2)
    confusion.add(np.array([[0, 0, B, 1]]), np.array([[0, B, B, V]]))
    # Background: 1 of 2; class 0: 1 of 2; class 1 occurs in no known pixel of the truth.
    assert confusion.iou()[:2].tolist() == [50, 50]
    assert np.isnan(confusion.iou()[2])
    assert confusion.mean_iou() == 50
    confusion.add(np.array([[0]]), np.array([[1]]))
    assert confusion.mean_iou() == pytest.approx((50 + 100 / 3 + 0) / 3)


def test_every_threshold_at_once_is_each_threshold_by_itself():
    rng = np.random.default_rng(0)
    thresholded, images = ThresholdedConfusion(3), []
    for _ in range(5):
        truth = rng.integers(V, 3, (9, 9))
        # On the grid of grey values, where both ways round alike.
        scores = rng.integers(0, 256, (2, 9, 9)) / 255 * 1.1
        classes = rng.choice(3, 2, replace=False)
        thresholded.add(*strongest(scores, classes), truth)
        images.append((scores, classes, truth))

    def mean_iou(tau):
        confusion = Confusion(3)
        for scores, classes, truth in images:
            cut = np.minimum(scores, 1)
            level = (cut.max(axis=0) * 255).astype(int)
            labels = np.where(level > tau * 255 + 1e-9, strongest(scores, classes)[0], B)
            confusion.add(labels, truth)
        return confusion.mean_iou()

    each = [mean_iou(level / 255) for level in range(255)]
    assert thresholded.best_threshold() * 255 == pytest.approx(int(np.argmax(each)))


def test_a_centred_box_of_the_largest_class():
    truth = np.full((10, 20), B)
    truth[0, :4], truth[9, :3], truth[5] = 2, 1, V
    box = centred_box(truth)
    assert (box == 2).sum() == 6 * 12
    assert box[2, 4] == box[7, 15] == 2
    assert (centred_box(np.full((4, 4), V)) == B).all()
