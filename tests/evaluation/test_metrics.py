import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.boxes import best_iou_per_level, largest_boxes, quantize
from pipeline.evaluation.geometry import iou, standard_value, to_protocol
from pipeline.evaluation.metrics import (
    MeanPixelAveragePrecision,
    PixelAveragePrecision,
    ThresholdCurve,
    background_share,
    coverage,
    percent,
    predictive_entropy,
    threshold_grid,
    top_k_correct,
)
from tests.evaluation import plain
from tests.golden import inputs

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "wsol_protocol.json").read_text())
DELTAS = (0.3, 0.5, 0.7)


@pytest.fixture(scope="module")
def box_dataset():
    return [
        (quantize(score_map), to_protocol(np.array(boxes, float), width, height, 224))
        for _, (width, height), boxes, score_map in inputs.box_dataset()
    ]


@pytest.mark.parametrize("mode", ["single", "multi"])
@pytest.mark.parametrize("interval", [0.01, 0.001])
def test_golden_box_accuracies(box_dataset, interval, mode):
    curve = ThresholdCurve(interval, DELTAS)
    for image, truth in box_dataset:
        single = iou(largest_boxes(image), truth).max(axis=1)
        curve.add(single if mode == "single" else best_iou_per_level(image, truth), standard_value(image))
    golden = GOLDEN[f"box_{interval}_{mode}"]
    assert curve.max_box_acc() == pytest.approx(list(golden["max_box_acc"].values()), abs=1e-9)
    assert curve.max_box_acc().mean() == pytest.approx(golden["V2_mean"], abs=1e-9)
    first = threshold_grid(interval)[list(golden["first_argmax_index"].values())]
    assert curve.best_thresholds().tolist() == first.tolist()
    if "num_correct" in golden:
        assert curve.hits.tolist() == list(golden["num_correct"].values())


@pytest.mark.parametrize("interval", [0.01, 0.001])
def test_golden_pixel_average_precision(interval):
    pxap = PixelAveragePrecision(interval)
    for _, masks, ignored, score_map in inputs.mask_dataset():
        pxap.add(score_map, np.any(masks, axis=0), ignored > 0)
    assert pxap.value() == pytest.approx(GOLDEN[f"PxAP_{interval}"], abs=1e-9)
    assert [pxap.foreground.sum(), pxap.background.sum()] == GOLDEN[f"px_counts_{interval}"]


@pytest.mark.parametrize("interval", [0.5, 0.3, 0.07, 1 / 49, 0.01, 0.001, 0.0007, 0.00001])
def test_scores_are_counted_as_numpy_counts_them(interval):
    random = np.random.default_rng(0)
    pxap = PixelAveragePrecision(interval)
    edges = np.append(threshold_grid(interval), 1.0)
    scores = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, 1), random.random(3000)])[None]
    foreground, ignored = random.random((2, *scores.shape)) < 0.4
    pxap.add(scores, foreground, ignored)
    expected = plain.histograms(scores, foreground, ignored, interval)
    assert (pxap.foreground == expected[0]).all()
    assert (pxap.background == expected[1]).all()


def test_pixel_average_precision_by_hand():
    """Foreground at .9, .6, .2 and background at .6, .1: precision 1, 2/3, 3/4 at recall 1/3, 2/3, 1."""
    pxap = PixelAveragePrecision(0.1)
    pxap.add(np.array([[0.9, 0.6, 0.2, 0.6, 0.1]]), np.array([[True, True, True, False, False]]))
    assert pxap.value() == pytest.approx((1 + 2 / 3 + 3 / 4) / 3 * 100)


def test_ignored_foreground_is_foreground():
    pxap = PixelAveragePrecision(0.1)
    pxap.add(np.array([[0.9, 0.8]]), np.array([[True, False]]), np.array([[True, True]]))
    assert (pxap.foreground.sum(), pxap.background.sum()) == (1, 0)


@pytest.mark.parametrize("value", [np.nan, -0.01, 1.01, np.inf])
def test_scores_that_fit_no_bin_are_refused(value):
    with pytest.raises(ValueError, match="NaNs or values outside"):
        PixelAveragePrecision(0.1).add(np.array([[0.5, value]]), np.array([[True, False]]))


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="differ"):
        PixelAveragePrecision(0.1).add(np.zeros((2, 2)), np.zeros((2, 3), bool))


def test_no_foreground_in_the_whole_set():
    pxap = PixelAveragePrecision(0.1)
    pxap.add(np.zeros((2, 2)), np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="no foreground"):
        pxap.value()


def test_mean_over_classes_weighs_classes_not_pixels():
    scores, foreground = np.array([[0.9, 0.1]]), np.array([[True, False]])
    mpxap = MeanPixelAveragePrecision(0.1)
    for _ in range(9):
        mpxap.add(4, scores, foreground)
    mpxap.add(7, scores, ~foreground)
    assert mpxap.values() == pytest.approx({4: 100.0, 7: 50.0})
    assert mpxap.value() == pytest.approx(75.0)
    with pytest.raises(ValueError, match="no image"):
        MeanPixelAveragePrecision(0.1).value()


def test_merged_parts_are_the_whole(box_dataset):
    whole, parts = ThresholdCurve(0.01, DELTAS), [ThresholdCurve(0.01, DELTAS) for _ in range(2)]
    for number, (image, truth) in enumerate(box_dataset[:6]):
        ious = iou(largest_boxes(image), truth).max(axis=1)
        whole.add(ious, standard_value(image))
        parts[number % 2].add(ious, standard_value(image))
    parts[0].merge(parts[1])
    assert parts[0].images == 6
    assert (parts[0].hits == whole.hits).all()


def test_merged_histograms_are_the_whole():
    parts = [PixelAveragePrecision(0.1) for _ in range(2)]
    for part in parts:
        part.add(np.array([[0.9, 0.2]]), np.array([[True, False]]))
    parts[0].merge(parts[1])
    assert (parts[0].foreground.sum(), parts[0].background.sum()) == (2, 2)


def test_curve_of_no_image():
    with pytest.raises(ValueError, match="no image"):
        ThresholdCurve(0.1, DELTAS).accuracies()


def test_threshold_is_a_fraction_of_the_standard():
    """A box that is right from level 50 on is right from the first τ with int(τ·100) ≥ 50."""
    curve = ThresholdCurve(0.1, (0.5,))
    curve.add((np.arange(256) >= 50).astype(float), 100.0)
    assert curve.accuracies()[0].tolist() == [0, 0, 0, 0, 0, 100, 100, 100, 100, 100]
    assert curve.best_thresholds().tolist() == [0.5]


def test_top_k_counts_a_tie_against_the_label():
    logits = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0]])
    labels = np.array([2, 0])
    assert top_k_correct(logits, labels, 1).tolist() == [False, False]
    assert top_k_correct(logits, labels, 2).tolist() == [True, True]


@pytest.mark.parametrize("row", [[np.nan, np.nan, np.nan], [np.nan, 1.0, 0.0], [2.0, np.nan, 0.0]])
def test_a_logit_that_is_not_a_number_makes_no_prediction_right(row):
    assert top_k_correct(np.array([row]), np.array([0]), 1).tolist() == [False]
    assert top_k_correct(np.array([row]), np.array([0]), 5).tolist() == [False]


def test_entropy_in_nats():
    assert predictive_entropy(np.array([[5.0, 5.0], [1000.0, 0.0]])) == pytest.approx([np.log(2), 0.0])


def test_coverage_and_background_share():
    foreground = np.array([[True, True, False, False]])
    region = np.array([[False, True, True, True]])
    assert coverage(foreground, region) == pytest.approx(100 / 3)
    assert background_share(foreground, region) == 50.0
    assert np.isnan(coverage(foreground, np.zeros_like(region)))
    assert background_share(np.zeros_like(foreground), region) == 0.0


def test_percent():
    assert percent(np.array([True, False, False, False])) == 25.0
