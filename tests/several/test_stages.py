"""A tiny VOC through the stages: what they write for images with several classes, and that it is consistent."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image

from pipeline.data import refined
from pipeline.data.manifest import read_dataset
from pipeline.errors import ParamsError
from pipeline.execution.preflight import check_inputs
from pipeline.files import LABELLED, read_shards
from pipeline.params import load_params
from pipeline.stages import evaluate, extract_cams, localize, prepare, report, track, train
from tests.data.make_voc import write_voc
from tests.made_once import made_once
from tests.project import ROOT, edit, make_project

SETTINGS = {
    "prepare.dataset": "voc", "prepare.root": "data/VOC2007", "prepare.val_fraction": 0.3, "prepare.gate_fraction": 0.2,
    "train.epochs": 15, "train.batch_size": 8, "train.resize": 48, "train.crop": 48, "train.lr": 0.1,
    "promote.guards": ["gate.gt_known_iou30"],
}  # fmt: skip


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """The folder in which all stages have run."""

    def make(folder):
        project = make_project(folder / "project", SETTINGS)
        write_voc(project / "data/VOC2007", images=48)
        with pytest.MonkeyPatch.context() as patch:  # in this process: seven commands would take a minute to start
            patch.chdir(project)
            patch.setenv("WSOL_STATE", str(project / ".wsol"))
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            for stage in (prepare, train, extract_cams, localize, evaluate, report, track):
                stage.run(load_params())

    return made_once(tmp_path_factory, "several_labels", make) / "project"


@pytest.fixture
def here(results, monkeypatch):
    monkeypatch.chdir(results)
    return results


@pytest.mark.slow
def test_what_is_measured(here):
    metrics = json.loads((here / "metrics/metrics.json").read_text())
    assert metrics["threshold_source"] == "val"
    test = metrics["test"]
    assert test["images"] == test["images_with_boxes"] == test["images_with_masks"] == 12
    assert test["classes_with_boxes"] == 16  # a third of the images shows both
    assert test["chance_map"] == pytest.approx(100 * 16 / 24)
    assert test["map"] > 90
    for name in ("mpxap", "miou", "gt_known_miou", "gt_known_iou50", "max_box_acc_v2", "ap_train", "iou_background"):
        assert 0 <= test[name] <= 100, name
    assert test["mpxap"] > test["center_gaussian_mpxap"]
    assert test["gt_known_miou"] > test["center_box_miou"]
    assert test["found_loc_iou50"] <= test["gt_known_iou50"] <= test["max_box_acc_iou50"]
    rows = pd.read_parquet("metrics/per_image.parquet")
    rows = rows[rows["split"] == "test"]
    assert 100 * (rows["iou"] >= 0.5).mean() == pytest.approx(test["gt_known_iou50"])
    assert 100 * rows["found"].mean() == pytest.approx(test["found"])


@pytest.mark.slow
def test_there_is_a_map_for_each_class_shown_or_predicted_and_a_box_for_each_predicted(here):
    dataset, labels = read_dataset(LABELLED), read_dataset(LABELLED).labels("test")
    (shard,) = read_shards(here / "cams/test")
    assert shard["counts"].sum() == len(shard["classes"]) == len(shard["maps"])
    predictions = pd.read_parquet("boxes/predictions.parquet")
    ends = shard["counts"].cumsum()[:-1]
    for image_id, logits, own, shown in zip(
        shard["image_ids"], shard["logits"], np.split(shard["classes"], ends), labels, strict=True
    ):
        predicted = {*np.flatnonzero(logits >= 0), logits.argmax()}
        assert set(own) == {*np.flatnonzero(shown == 1), *predicted}
        rows = predictions[predictions["image_id"] == str(image_id)]
        assert set(rows["predicted"]) == {dataset.classes[c] for c in predicted}
        assert rows["score"].is_monotonic_decreasing
        mask = np.asarray(Image.open(here / f"boxes/masks/test/{image_id}.png"))
        assert mask.shape == (48, 48)
        assert set(np.unique(mask)) <= {0, *(dataset_value(dataset, c) for c in predicted)}


def dataset_value(dataset, label):
    return {"aeroplane": 1, "train": 19}[dataset.classes[label]]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"train.head": "acol"}, "the one true class"),
        ({"train.erasing": "ae"}, "the one true class"),
        ({"extract_cams.method": "ddt"}, "knows no classes"),
        ({"promote.guards": ["gate.cls_top1"]}, "the one class of an image"),
        ({"promote.metric": "gate.top1_loc_iou50"}, "the one class of an image"),
    ],
)
def test_what_is_about_one_label_is_refused_before_anything_runs(tmp_path, monkeypatch, changes, reason):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    write_voc(Path("data/VOC2007"), images=6)
    edit(Path(shutil.copy(ROOT / "params.yaml", ".")).parent, SETTINGS | changes)
    for refuse in (lambda: check_inputs(load_params()), lambda: prepare.run(load_params())):
        with pytest.raises(ParamsError, match=reason):
            refuse()
    assert not LABELLED.exists()


@pytest.mark.slow
def test_the_page_shows_each_image_once_and_the_run_has_the_numbers(here):
    page = (here / "report/index.html").read_text()
    assert "mPxAP of a centred Gaussian" in page
    client = MlflowClient(f"sqlite:///{here / '.wsol/mlflow.db'}")
    (row,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    metrics = json.loads((here / "metrics/metrics.json").read_text())
    assert row.data.metrics["test/map"] == pytest.approx(metrics["test"]["map"])
    assert row.data.metrics["mask_threshold"] == pytest.approx(metrics["mask_threshold"])


@pytest.mark.slow
def test_refined_maps_of_each_class_are_those_of_its_image(here, tmp_path, monkeypatch):
    shutil.copytree(here, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    edit(Path(), {"localize.refine": "crf"})
    # In place of the CRF: what of the image is coloured, which is its objects.
    monkeypatch.setattr(refined, "refine", lambda _, image: (np.ptp(image.astype(float), axis=2) > 120).astype(float))
    localize.run(load_params())
    evaluate.run(load_params())
    rows = pd.read_parquet("metrics/per_image.parquet")
    alone = ~rows["image_id"].str.split().str[0].duplicated(keep=False)
    assert (rows["iou"][alone] > 0.6).all()
    assert "maps" in next(read_shards(Path("boxes/test")))
