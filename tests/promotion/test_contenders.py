"""What each image contributes, on a table of four, and what makes two evaluations the same."""

import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from pipeline.promotion.contenders import scored, tracked_contender

TABLE = pd.DataFrame(
    {
        "image_id": ["a", "b", "c", "v"],
        "split": ["gate", "gate", "gate", "val"],
        "label": [0, 1, 2, 0],
        "top5": [[0, 1], [0, 1], [0, 1], [0, 1]],
        "top1_correct": [True, False, False, True],
        "top5_correct": [True, True, False, True],
        "center_gaussian_iou": [0.6, 0.1, 0.2, 1.0],
        "full_image_iou": [0.2, 0.3, 0.4, 1.0],
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
        ("gate.gt_known_iou50", [1, 1, 0]),
        ("gate.gt_known_iou70", [0, 1, 0]),
        ("gate.mean_iou", [0.5, 0.75, 0.25]),
        ("gate.cls_top1", [1, 0, 0]),
        ("gate.cls_top5", [1, 1, 0]),
        ("gate.top1_loc_iou50", [1, 0, 0]),
        ("gate.top5_loc_iou50", [1, 1, 0]),
        ("val.gt_known_iou50", [1]),
    ],
)
def test_each_metric_is_a_mean_of_these(table, metric, expected):
    found = scored(table(TABLE), (metric,))
    assert found["values"][metric].tolist() == expected
    assert found["image_ids"] == {"gate": ("a", "b", "c"), "val": ("v",)}


def test_without_boxes_only_classification_is_there(table):
    rows = TABLE.assign(iou=None, center_gaussian_iou=None, full_image_iou=None)
    found = scored(table(rows), ("gate.gt_known_iou50", "gate.cls_top1"))
    assert list(found["values"]) == ["gate.cls_top1"]


def test_localization_counts_the_images_with_boxes(table):
    without = TABLE.index[TABLE["split"] == "gate"][0]
    rows = TABLE.copy()
    for name in ("iou", "center_gaussian_iou", "full_image_iou"):
        rows.loc[without, name] = None
    metrics = ("gate.gt_known_iou50", "gate.cls_top1")
    whole, part = scored(table(TABLE), metrics), scored(table(rows), metrics)
    assert part["values"]["gate.gt_known_iou50"].tolist() == whole["values"]["gate.gt_known_iou50"][1:].tolist()
    assert part["values"]["gate.cls_top1"].tolist() == whole["values"]["gate.cls_top1"].tolist()
    assert {k: v.tolist() for k, v in part["baselines"].items()} == {
        k: v[1:].tolist() for k, v in whole["baselines"].items()
    }


@pytest.mark.parametrize(
    ("metric", "gaussian", "whole"),
    [
        ("gate.gt_known_iou50", [1, 0, 0], [0, 0, 0]),
        ("gate.gt_known_iou30", [1, 0, 0], [0, 1, 1]),
        ("gate.mean_iou", [0.6, 0.1, 0.2], [0.2, 0.3, 0.4]),
        ("gate.top5_loc_iou50", [1, 0, 0], [0, 0, 0]),
    ],
)
def test_what_looks_at_no_image_is_scored_on_the_same_ones(table, metric, gaussian, whole):
    found = scored(table(TABLE), (metric, "gate.cls_top1"))["baselines"]
    assert {name: values.tolist() for name, values in found.items()} == {
        "a centred Gaussian": gaussian,
        "the full image": whole,
    }


def test_of_classification_the_likeliest_class_is_the_baseline(table):
    rows = TABLE.assign(label=[2, 1, 2, 0])
    assert scored(table(rows), ("gate.cls_top1",))["baselines"]["the most frequent class"].tolist() == [1, 0, 1]
    localized = scored(table(rows), ("gate.top1_loc_iou30",))["baselines"]["the full image"]
    assert localized.tolist() == [0, 0, 1]


def test_a_tie_counts_as_evaluate_counted_it(table):
    """Of two equal logits the first comes first among the five, and yet the label is not the one highest."""
    tied = TABLE.assign(top1_correct=[False] * 4)
    assert scored(table(tied), ("gate.cls_top1",))["values"]["gate.cls_top1"].tolist() == [0, 0, 0]


def test_a_table_older_than_a_column_lacks_its_metrics(table):
    found = scored(table(TABLE.drop(columns="top1_correct")), ("gate.cls_top1", "gate.cls_top5"))
    assert list(found["values"]) == ["gate.cls_top5"]


def test_a_split_nobody_scored_has_no_metric(table):
    assert scored(table(TABLE[:3]), ("val.cls_top1",))["values"] == {}


class FolderClient:
    """Of MLflow's client what reads artifacts, which lie in a folder."""

    def __init__(self, folder):
        self.folder = folder

    def list_artifacts(self, _run_id, path):
        return [SimpleNamespace(path=f"{path}/{file.name}") for file in (self.folder / path).iterdir()]

    def download_artifacts(self, _run_id, path, target):
        return shutil.copy(self.folder / path, target)


@pytest.fixture
def protocol(tmp_path):
    """The protocol of a run whose evaluation depended on these files and settings."""

    def of(files, source="dvc.lock", **settings):
        for folder in ("metrics", "provenance"):
            (tmp_path / folder).mkdir(exist_ok=True)
        TABLE.to_parquet(tmp_path / "metrics/per_image.parquet")
        deps = [{"path": path, "md5": md5} for path, md5 in files.items()]
        (tmp_path / "provenance/dvc.lock").write_text(yaml.safe_dump({"stages": {"evaluate": {"deps": deps}}}))
        data = SimpleNamespace(tags={"wsol.key_source": source}, params=settings)
        run = SimpleNamespace(info=SimpleNamespace(run_id="r"), data=data)
        return tracked_contender(FolderClient(tmp_path), run, ("gate.cls_top1",)).protocol

    return of


ONE, TWO = "1" * 32, "2" * 32
CODE = {
    "pipeline/evaluation/scorer.py": ONE,
    "pipeline/evaluation/metrics.py": ONE,
    "pipeline/files.py": ONE,
    "boxes": ONE,
}


@pytest.mark.parametrize("path", ["pipeline/evaluation/scorer.py", "pipeline/evaluation/metrics.py"])
def test_code_that_scores_is_part_of_the_protocol(protocol, path):
    assert protocol(CODE) == protocol(CODE)
    assert protocol(CODE | {path: TWO}) != protocol(CODE)


@pytest.mark.parametrize("path", ["pipeline/files.py", "boxes"])
def test_helpers_and_what_is_scored_are_not(protocol, path):
    assert protocol(CODE | {path: TWO}) == protocol(CODE)


def test_settings_of_evaluate_are_and_a_lock_that_describes_other_files_is_not(protocol):
    assert protocol(CODE, **{"evaluate.interval": "0.1"}) != protocol(CODE)
    assert protocol(CODE, **{"train.epochs": "1"}) == protocol(CODE)
    assert protocol(CODE, source="files") == protocol({}, source="files") != protocol(CODE)
