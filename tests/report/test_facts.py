"""What kind of image each is and how it fails, on boxes where the answer is plain."""

import numpy as np
import pandas as pd
import pytest

from pipeline.report.breakdown import breakdowns
from pipeline.report.card import data_card
from pipeline.report.facts import image_facts

TRUE = [56, 56, 112, 112]
#: Name → predicted box, true boxes in an image of 224 × 224, whether the class is right, kind.
CASES = {
    "right": (TRUE, [TRUE], True, "right"),
    "wrong class": (TRUE, [TRUE], False, "wrong class"),
    "too big": ([0, 0, 200, 200], [TRUE], True, "too big"),
    "part only": ([70, 70, 90, 90], [TRUE], True, "part only"),
    "beside": ([150, 150, 200, 200], [TRUE], False, "beside"),
    "no box": ([0, 0, 0, 0], [TRUE], True, "beside"),
    "several": ([0, 0, 223, 223], [[0, 0, 60, 60], [150, 150, 223, 223]], True, "several objects"),
    "no truth": (TRUE, [], True, ""),
}


def overlap(a, b):
    both = np.prod([max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1, 0) for i in (0, 1)])
    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return both / (sum(areas) - both)


@pytest.fixture
def facts():
    names = list(CASES)
    manifest = pd.DataFrame(
        {"image_id": names, "width": 224, "height": 224, "boxes": [case[1] for case in CASES.values()],
         "split": "test", "labels": [[0]] * len(names)}
    )  # fmt: skip
    scored = pd.DataFrame(
        {"image_id": names[::-1], "box": [CASES[name][0] for name in names[::-1]], "label": 0, "score": 0.95,
         "top1_correct": [CASES[name][2] for name in names[::-1]], "entropy": 0.5,
         "iou": [max((overlap(CASES[n][0], true) for true in CASES[n][1]), default=np.nan) for n in names[::-1]]}
    )  # fmt: skip
    return image_facts(scored, manifest)


def test_each_way_to_fail_has_its_name(facts):
    assert dict(zip(facts["image_id"], facts["kind"], strict=True)) == {name: case[3] for name, case in CASES.items()}


def test_the_largest_box_tells_size_shape_and_place(facts):
    rows = facts.set_index("image_id")
    assert rows.loc["right", ["objects", "size", "aspect"]].tolist() == [1, 0.25, 1]
    assert rows.loc["right", "off_centre"] == pytest.approx(0.25)
    assert rows.loc["several", "objects"] == 2
    assert rows.loc["several", "size"] == pytest.approx(73 / 224)
    assert rows.loc["no truth", ["objects", "size", "aspect", "off_centre"]].isna().all()


def test_groups_count_each_image_once_and_leave_out_what_was_not_measured(facts):
    groups = breakdowns(facts, ["only"])
    kinds = {bar.label: bar.images for bar in groups["kind"].bars}
    assert kinds == {"right": 1, "wrong class": 1, "several objects": 1, "too big": 1, "part only": 1, "beside": 2}
    assert groups["label"].bars[0].images == 8
    assert groups["label"].bars[0].accuracy[0] == pytest.approx(100 * 2 / 7)
    assert groups["label"].bars[0].accuracy[1] < 100 * 2 / 7 < groups["label"].bars[0].accuracy[2]
    assert groups["size"].codes[-1] == -1
    assert sum(bar.images for bar in groups["iou"].bars) == 7


def test_the_last_bin_holds_its_upper_end(facts):
    groups = breakdowns(facts.assign(score=1.0, iou=1.0), ["a", "b"])
    assert groups["score"].bars[-1].images == 8
    assert groups["iou"].bars[-1].images == 8


def test_the_data_card_counts_splits_classes_and_places():
    rows = pd.DataFrame(
        {"split": ["train", "train", "test"], "labels": [[0], [1], [1]], "width": 10, "height": 10,
         "boxes": [[[0, 0, 10, 5]], [[0, 0, 10, 5], [0, 0, 10, 5]], []]}
    )  # fmt: skip
    card = data_card(rows, ("train", "val", "test"), ["a", "b"], {"in_several_splits": 2, "examples": ["x"]})
    assert card.splits == {"train": (2, 2, 3, 1, 1), "test": (1, 0, 0, 0, 1)}
    assert ("in several splits", "2") in card.facts
    assert np.allclose(card.places[:6], 1)
    assert np.allclose(card.places[6:], 0)
