"""The fast sweep against golden values and against the plain OpenCV way, level by level."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pipeline.evaluation.boxes import best_iou_per_level, contour_boxes, largest_box, largest_boxes, quantize
from pipeline.evaluation.geometry import iou, standard_value, threshold_level, to_image, to_protocol
from tests.evaluation import plain
from tests.evaluation.kinds import KINDS
from tests.golden import inputs

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "wsol_protocol.json").read_text())
SMALL = [(1, 1), (1, 9), (9, 1), (2, 2), (4, 7), (9, 9), (16, 11), (28, 28)]
LARGE = [(61, 40), (96, 128), (224, 224)]


def distinct_levels(image: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """First level and first level beyond, for each stretch of levels that threshold the image alike."""
    starts = sorted({0, *image.ravel().tolist()})
    yield from zip(starts, [*starts[1:], 256], strict=True)


def assert_same_boxes(image: NDArray[np.uint8]) -> None:
    single = largest_boxes(image)
    boxes, spans = contour_boxes(image)
    drawn = [Counter[tuple[int, ...]]() for _ in range(256)]
    for box, (low, high) in zip(boxes.tolist(), spans.tolist(), strict=True):
        for level in range(low, high + 1):
            drawn[level][tuple(box)] += 1
    for start, stop in distinct_levels(image):
        assert (single[start:stop] == plain.largest_box(image, start)).all()
        every = Counter(plain.all_boxes(image, start)) if start < image.max() else Counter()
        assert all(drawn[level] == every for level in range(start, stop))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_boxes_of_thousands_of_small_maps_are_those_of_the_plain_way(kind):
    random = np.random.default_rng(0)
    for shape in SMALL:
        for _ in range(40):
            assert_same_boxes(kind(*shape, random))


@pytest.mark.parametrize("shape", LARGE, ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_boxes_of_large_maps_are_those_of_the_plain_way(kind, shape):
    assert_same_boxes(kind(*shape, np.random.default_rng(1)))


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.sampled_from([0, 1, 2, 255]))
)
@settings(max_examples=300, deadline=None)
def test_boxes_of_any_small_map_are_those_of_the_plain_way(image):
    assert_same_boxes(image)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_best_iou_is_that_of_the_plain_way(kind):
    random = np.random.default_rng(2)
    for shape in [(28, 28), (33, 50)]:
        image = kind(*shape, random)
        corners = np.sort(random.integers(0, min(shape), (3, 2, 2)), axis=1)
        truth = corners.reshape(3, 4)
        best = best_iou_per_level(image, truth)
        for level in range(255):
            assert best[level] == plain.iou(plain.all_boxes(image, level), truth).max()


@pytest.mark.parametrize("case", GOLDEN["boxes"], ids=lambda case: f"{case['kind']}{case['seed']}")
def test_golden_boxes(case):
    image = quantize(inputs.score_map(case["seed"], case["kind"]))
    levels = [threshold_level(tau, standard_value(image)) for tau in GOLDEN["thresholds"]]
    assert largest_boxes(image)[levels].tolist() == case["single"]


@pytest.mark.parametrize(
    "case", [c for c in GOLDEN["boxes"] if "multi_count" in c], ids=lambda c: f"{c['kind']}{c['seed']}"
)
def test_golden_number_of_contours(case):
    image = quantize(inputs.score_map(case["seed"], case["kind"]))
    levels = np.array([threshold_level(tau, standard_value(image)) for tau in GOLDEN["thresholds"]])
    _, spans = contour_boxes(image)
    drawn = (spans[:, :1] <= levels) & (levels <= spans[:, 1:])
    assert drawn.sum(axis=0).tolist() == case["multi_count"]


def test_golden_box_rescaling():
    for box, (width, height), expected in GOLDEN["resize_bbox"]:
        assert to_protocol(np.array([box]), width, height, 224).tolist() == [expected]


def test_iou_counts_the_last_row_and_column():
    boxes = np.array([[0, 0, 1, 1], [0, 0, 3, 3]])
    assert iou(boxes, np.array([[0, 0, 1, 1], [1, 1, 2, 2], [4, 0, 5, 1]])).tolist() == [
        [1.0, 1 / 7, 0.0],
        [0.25, 0.25, 0.0],
    ]


def test_of_equal_contours_the_lower_is_taken():
    image = np.zeros((9, 9), np.uint8)
    image[1:3, 5:8] = image[5:7, 1:4] = 9
    assert largest_boxes(image)[0].tolist() == [1, 5, 4, 7]


def test_a_ring_beats_a_solid_component_with_more_pixels():
    image = np.zeros((20, 20), np.uint8)
    image[0:9, 0:9] = 5
    image[1:8, 1:8] = 0
    image[10:17, 10:18] = 5
    assert (image[:9] > 0).sum() < (image[9:] > 0).sum()
    assert largest_boxes(image)[0].tolist() == [0, 0, 9, 9]


def test_levels_from_the_maximum_on_have_no_box():
    image = np.full((4, 6), 7, np.uint8)
    boxes = largest_boxes(image)
    assert boxes[6].tolist() == [0, 0, 5, 3]
    assert not boxes[7:].any()
    assert best_iou_per_level(image, np.array([[0, 0, 1, 1]]))[7] == 0.25  # the field's code writes [0, 0, 0, 0]


@pytest.mark.parametrize("level", [0, 40, 254, 255])
def test_one_level_alone_gives_the_box_of_the_sweep(level):
    image = quantize(inputs.score_map(3, "blob"))
    assert largest_boxes(image)[level].tolist() == list(largest_box(image, level))


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1])
def test_a_map_outside_the_unit_interval_is_refused(value):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        quantize(np.array([[0.0, value]]))


def test_quantize_truncates():
    assert quantize(np.array([[0.0, 0.9999, 1.0]])).tolist() == [[0, 254, 255]]


def test_percentile_as_standard():
    image = np.arange(101, dtype=np.uint8)[None]
    assert standard_value(image) == 100
    assert standard_value(image, 90) == 90
    assert threshold_level(0.35, 90.0) == 31


def test_boxes_return_to_the_image():
    assert to_image(np.array([[0, 56, 112, 224]]), 448, 112, 224).tolist() == [[0.0, 28.0, 224.0, 112.0]]
