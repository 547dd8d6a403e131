import numpy as np
import pytest

from pipeline.evaluation.average_precision import average_precision, average_precisions


def test_by_hand():
    # Ranks of the positives: 1, 3 and 4.
    found = average_precision(np.array([0.9, 0.8, 0.7, 0.6, 0.1]), np.array([1, 0, 1, 1, 0]))
    assert found == pytest.approx(100 * (1 + 2 / 3 + 3 / 4) / 3)


def test_the_order_of_images_does_not_matter_nor_does_a_score_without_information():
    scores, labels = np.array([0.5, 0.5, 0.2, 0.5]), np.array([1, 0, 1, 0])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        assert average_precision(scores[order], labels[order]) == pytest.approx(100 * (1 / 3 + 2 / 4) / 2)
    assert average_precision(np.zeros(8), np.array([1, 0, 0, 0, 1, 0, 0, 0])) == 25


def test_uncertain_images_are_left_out():
    assert average_precision(np.array([0.9, 0.8, 0.1]), np.array([-1, 1, 0])) == 100


def test_a_class_that_no_image_shows_has_none():
    found = average_precisions(np.array([[0.9, 0.1], [0.1, 0.2]]), np.array([[1, 0], [0, -1]]))
    assert found[0] == 100
    assert np.isnan(found[1])
