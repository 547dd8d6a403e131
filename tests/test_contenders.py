"""What each image contributes, on a table of four."""

import pandas as pd
import pytest

from pipeline.contenders import scored

TABLE = pd.DataFrame(
    {
        "image_id": ["a", "b", "c", "v"],
        "split": ["test", "test", "test", "val"],
        "label": [0, 1, 2, 0],
        "top5": [[0, 1], [0, 1], [0, 1], [0, 1]],
        "iou": [0.5, 0.75, 0.25, 1.0],
    }
)


@pytest.fixture
def table(tmp_path):
    def write(rows):
        rows.to_parquet(tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    return write


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("test.gt_known_iou50", [1, 1, 0]),
        ("test.gt_known_iou70", [0, 1, 0]),
        ("test.mean_iou", [0.5, 0.75, 0.25]),
        ("test.cls_top1", [1, 0, 0]),
        ("test.cls_top5", [1, 1, 0]),
        ("test.top1_loc_iou50", [1, 0, 0]),
        ("test.top5_loc_iou50", [1, 1, 0]),
        ("test.top5_loc_iou70", [0, 1, 0]),
        ("val.gt_known_iou50", [1]),
    ],
)
def test_each_metric_is_a_mean_of_these(table, metric, expected):
    found = scored(table(TABLE), (metric,))
    assert found["values"][metric].tolist() == expected
    assert found["image_ids"] == {"test": ("a", "b", "c"), "val": ("v",)}


def test_without_boxes_only_classification_is_there(table):
    found = scored(table(TABLE.assign(iou=[0.5, None, 0.2, 1.0])), ("test.gt_known_iou50", "test.cls_top1"))
    assert list(found["values"]) == ["test.cls_top1"]


def test_a_split_nobody_scored_has_no_metric(table):
    assert scored(table(TABLE[:3]), ("val.cls_top1",))["values"] == {}
