"""Every metric of a split on images whose answer is known."""

import numpy as np
import pytest

from pipeline.evaluation.boxes import largest_boxes, quantize
from pipeline.evaluation.score_maps import gaussian_map
from pipeline.evaluation.scorer import ScoredImage, SplitScorer, gaussian_threshold

DELTAS = (0.3, 0.5, 0.7)
#: A square of 50×50 pixels, as a box whose last row and column belong to it.
SQUARE = (20, 30, 69, 79)


def square_map(x0, y0, x1, y1):
    score_map = np.zeros((224, 224))
    score_map[y0 : y1 + 1, x0 : x1 + 1] = 1
    return score_map


def scored(
    name="a", label=0, logits=(3.0, 1.0, 0.0), box=SQUARE, truth=SQUARE, mask=None, part=None, ignored=None, score=0.5
):
    score_map = square_map(*box)
    return ScoredImage(
        name, label, np.array(logits), score_map, largest_boxes(quantize(score_map)), 255.0,
        np.array([truth] if truth else [], np.int64).reshape(-1, 4), mask, ignored, part, box, score,
    )  # fmt: skip


def score(*images, tau=0.5, gaussian_tau=0.5):
    scorer = SplitScorer(tau, gaussian_tau, DELTAS, 0.01)
    for image in images:
        scorer.add(image)
    return scorer


def test_a_perfect_box_and_one_that_misses():
    # The protocol's box is one pixel wider than its contour: 51×51 against 50×50.
    perfect = 50 * 50 / (51 * 51)
    metrics = score(scored("a"), scored("b", label=1, truth=(150, 150, 200, 200))).metrics()
    assert metrics["images"] == 2
    for name in ("gt_known_iou30", "gt_known_iou70", "max_box_acc_iou50", "max_box_acc_v2"):
        assert metrics[name] == 50, name
    assert metrics["mean_iou"] == pytest.approx(100 * perfect / 2)
    assert metrics["cls_top1"] == 50
    assert metrics["cls_top5"] == 100


def test_top_1_localization_needs_box_and_class():
    right, wrong_class = scored("a"), scored("b", label=2)
    metrics = score(right, wrong_class).metrics()
    assert metrics["gt_known_iou50"] == 100
    assert metrics["top1_loc_iou50"] == 50
    assert metrics["top5_loc_iou50"] == 100


def test_deployed_accuracy_never_exceeds_the_oracles():
    rng = np.random.default_rng(0)
    scorer = SplitScorer(0.43, 0.5, DELTAS, 0.01)
    for i in range(20):
        x, y = rng.integers(0, 120, 2)
        image = scored(str(i), truth=(x, y, x + 80, y + 70))
        noisy = np.kron(rng.random((14, 14)), np.ones((16, 16)))
        scorer.add(ScoredImage(**(vars(image) | {"score_map": noisy, "level_boxes": largest_boxes(quantize(noisy))})))
    metrics = scorer.metrics()
    for delta in (30, 50, 70):
        assert metrics[f"gt_known_iou{delta}"] <= metrics[f"max_box_acc_iou{delta}"]
        assert metrics[f"max_box_acc_iou{delta}"] <= metrics[f"max_box_acc_v2_iou{delta}"]
    curve = scorer.curve()["gt_known_iou50"]
    assert curve[43] == metrics["gt_known_iou50"]
    assert curve.max() == metrics["max_box_acc_iou50"]


def test_every_contour_counts_for_the_second_version_only():
    """A larger blob beside the one on the object: the single box misses, one of all boxes does not."""
    image = scored()
    both = np.maximum(square_map(*SQUARE), square_map(100, 100, 190, 190))
    image = ScoredImage(**(vars(image) | {"score_map": both, "level_boxes": largest_boxes(quantize(both))}))
    metrics = score(image).metrics()
    assert metrics["max_box_acc_iou50"] == 0
    assert metrics["max_box_acc_v2_iou50"] == 100


def test_coverage_of_part_object_and_background():
    mask = square_map(20, 30, 69, 129) > 0  # twice the foreground
    part = square_map(20, 30, 29, 39) > 0
    metrics = score(scored(mask=mask, part=part)).metrics()
    assert metrics["object_coverage"] == 50
    assert metrics["part_coverage"] == 100
    assert metrics["background_share"] == 0
    assert metrics["pxap_interval"] == 0.01
    assert 50 < metrics["pxap"] < 100


def test_the_gaussian_is_scored_by_pixels_too():
    assert score(scored(mask=gaussian_map(224, 56.0) > 0.3)).metrics()["center_gaussian_pxap"] == 100
    assert score(scored(mask=gaussian_map(224, 56.0) < 0.3)).metrics()["center_gaussian_pxap"] < 50


def test_ignored_pixels_do_not_count_as_background():
    mask = square_map(*SQUARE) > 0
    shifted = (20, 30, 89, 79)
    ignored = square_map(70, 30, 89, 79) > 0
    assert score(scored(box=shifted, mask=mask)).metrics()["pxap"] < 100
    assert score(scored(box=shifted, mask=mask, ignored=ignored)).metrics()["pxap"] == 100


def test_without_boxes_or_masks_their_metrics_are_absent():
    scorer = score(scored(truth=None))
    accuracies = {f"{name}{end}" for name in ("cls_top1", "cls_top5") for end in ("", "_low", "_high")}
    assert scorer.metrics().keys() == {"images", "images_with_boxes", "entropy"} | accuracies
    assert scorer.metrics()["images_with_boxes"] == 0
    assert scorer.curve() == {}


def test_localization_is_that_of_the_images_with_boxes():
    boxed = [scored("a"), scored("b", truth=(0, 0, 40, 40))]
    some, alone = score(*boxed, scored("c", truth=None)), score(*boxed)
    metrics, expected = some.metrics(), alone.metrics()
    assert (metrics["images"], metrics["images_with_boxes"]) == (3, 2)
    measured = [key for key in expected if "iou" in key or "max_box_acc" in key]
    assert len(measured) > 10
    assert {key: metrics[key] for key in measured} == {key: expected[key] for key in measured}
    assert some.curve().keys() == alone.curve().keys()


def test_masks_count_where_they_are():
    mask = square_map(20, 30, 69, 79) > 0
    some, alone = score(scored("a", mask=mask), scored("b")), score(scored("a", mask=mask))
    assert some.metrics()["images_with_masks"] == 1
    for name in ("pxap", "object_coverage", "background_share"):
        assert some.metrics()[name] == alone.metrics()[name]


def test_baselines_that_never_look_at_the_image():
    centred, corner = (50, 50, 173, 173), (0, 0, 40, 40)
    metrics = score(scored("a", truth=centred), scored("b", truth=corner)).metrics()
    assert metrics["center_gaussian_max_box_acc_iou70"] == 50
    assert metrics["full_image_iou50"] == 0
    assert score(scored(truth=(10, 10, 220, 220))).metrics()["full_image_iou50"] == 100


def test_the_gaussian_is_deployed_at_the_threshold_that_is_best_on_val():
    """A square of 124 pixels in the middle: far from the Gaussian's box at a low threshold, near it at another."""
    centred = np.array([[50, 50, 173, 173]])
    tau = gaussian_threshold([centred, np.array([[0, 0, 20, 20]])], 0.01)
    assert tau == 0.3  # the first of those that reach IoU 0.5
    overlaps = [score(scored(truth=tuple(centred[0])), gaussian_tau=t).rows[0] for t in (0.05, tau)]
    assert overlaps[0]["center_gaussian_iou"] < 0.5 <= overlaps[1]["center_gaussian_iou"]
    assert overlaps[1]["full_image_iou"] == pytest.approx(124 * 124 / 224**2)


def test_intervals_hold_their_accuracy_and_narrow_with_more_images():
    few, many = (score(*[scored(str(i), label=i % 2) for i in range(count)]).metrics() for count in (10, 200))
    for metrics in (few, many):
        assert metrics["top1_loc_iou50_low"] < metrics["top1_loc_iou50"] == 50 < metrics["top1_loc_iou50_high"]
        assert metrics["gt_known_iou50_low"] < metrics["gt_known_iou50"] == metrics["gt_known_iou50_high"] == 100
    assert few["gt_known_iou50_low"] < many["gt_known_iou50_low"]
    assert many["cls_top1_high"] - many["cls_top1_low"] < few["cls_top1_high"] - few["cls_top1_low"]


def test_where_the_threshold_was_chosen_only_what_does_not_depend_on_it_has_an_interval():
    scorer = score(scored("a"), scored("b", label=1))
    chosen, fixed = scorer.metrics(tau_chosen_here=True), scorer.metrics()
    with_interval = {name.removesuffix("_low") for name in chosen if name.endswith("_low")}
    assert with_interval == {"cls_top1", "cls_top5"}
    assert fixed | chosen == fixed
    assert {name.rpartition("_")[2] for name in fixed.keys() - chosen.keys()} == {"low", "high"}


def test_entropy_in_nats():
    assert score(scored(logits=(0.0, 0.0, 0.0))).metrics()["entropy"] == pytest.approx(np.log(3))
