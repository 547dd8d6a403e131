"""The table of what scores are worth, on boxes counted by hand."""

import numpy as np
import pytest

from pipeline.evaluation.geometry import NO_BOX
from pipeline.evaluation.reliability import Reliability, map_mean


def test_a_row_counts_the_boxes_of_its_tenth():
    found = Reliability()
    for score, overlap, right in ((0.31, 0.5, True), (0.39, 0.49, True), (0.35, 0.9, False), (1.0, 0.8, True)):
        found.add(score, overlap, right)
    third, last = found.table()
    assert (third["low"], third["high"], third["boxes"]) == (0.3, 0.4, 3)
    assert third["score"] == pytest.approx(0.35)
    assert third["iou50"] == pytest.approx(200 / 3)
    assert third["top1_iou50"] == pytest.approx(100 / 3)
    # Clopper & Pearson for 1 of 3 and 1 of 1.
    assert (third["top1_iou50_low"], third["top1_iou50_high"]) == pytest.approx((0.840, 90.57), abs=0.01)
    assert (last["low"], last["high"], last["boxes"], last["iou50"]) == (0.9, 1.0, 1, 100)
    assert last["iou50_low"] == pytest.approx(2.5)


def test_without_boxes_there_is_no_row():
    assert Reliability().table() == []


def test_the_mean_of_a_map_counts_the_last_row_and_column_of_the_box():
    values = np.arange(16, dtype=float).reshape(4, 4)
    assert map_mean(values, (1, 1, 2, 2)) == np.mean([5, 6, 9, 10])
    assert map_mean(values, NO_BOX) == 0
