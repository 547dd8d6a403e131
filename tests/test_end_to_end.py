"""All stages through DVC on real files: what runs again when, what a kill leaves, and what ends up in MLflow."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from mlflow import MlflowClient

from tests.project import STAGES, edit, environment, executed, pipeline

pytestmark = pytest.mark.slow


@pytest.fixture
def project(first_run, tmp_path):
    """A copy whose MLflow rows are its own."""
    shutil.copytree(first_run, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


def rows(folder: Path):
    client = MlflowClient(f"sqlite:///{folder / '.wsol/mlflow.db'}")
    return client.search_runs([e.experiment_id for e in client.search_experiments()])


def test_every_output_is_there_and_one_row_holds_it(first_run):
    metrics = json.loads((first_run / "metrics/metrics.json").read_text())
    assert metrics["threshold_source"] == "val"
    assert metrics["val"]["images"] == 4
    assert metrics["test"]["images"] == 6
    assert metrics["gate"]["images"] == 4
    for split in ("val", "gate", "test"):
        found = metrics[split]
        assert found.keys() >= {"gt_known_iou50", "top1_loc_iou50", "top5_loc_iou50", "max_box_acc_v2", "pxap",
                                "part_coverage", "center_gaussian_max_box_acc_iou50", "full_image_iou50"}  # fmt: skip
        assert found["gt_known_iou50"] <= found["max_box_acc_iou50"]
    predictions = pd.read_parquet(first_run / "boxes/predictions.parquet")
    assert len(predictions) == 14
    scored = pd.read_parquet(first_run / "metrics/per_image.parquet")
    assert scored["split"].value_counts().to_dict() == {"val": 4, "gate": 4, "test": 6}
    for split, part in scored.groupby("split"):
        assert 100 * part["top1_correct"].mean() == pytest.approx(metrics[split]["cls_top1"])
        assert 100 * (part["full_image_iou"] >= 0.5).mean() == metrics[split]["full_image_iou50"]
        assert (part["center_gaussian_iou"] >= 0.5).mean() <= metrics[split]["center_gaussian_max_box_acc_iou50"]
    boxes = predictions["box"].map(list)
    assert all(0 <= x0 <= x1 <= 48 and 0 <= y0 <= y1 <= 48 for x0, y0, x1, y1 in boxes)
    assert "<html" in (first_run / "report/index.html").read_text()
    (row,) = rows(first_run)
    assert row.info.status == "FINISHED"
    assert row.data.params["train.lambda"] == "0.0001"
    assert row.data.metrics["test/gt_known_iou50"] == pytest.approx(metrics["test"]["gt_known_iou50"])
    assert not list((first_run / ".wsol/checkpoints").glob("*.pt"))


def test_an_unchanged_project_trains_nothing_and_adds_no_row(project):
    done = pipeline(project, "repro")
    assert done.returncode == 0, done.stderr
    assert executed(done) == ["track"]
    assert len(rows(project)) == 1


def test_a_new_threshold_reruns_localize_and_later(project):
    before = (project / "models/model.pt").read_bytes()
    edit(project, {"localize.threshold": 0.2})
    done = pipeline(project, "repro")
    assert done.returncode == 0, done.stderr
    assert executed(done) == STAGES[3:]
    assert (project / "models/model.pt").read_bytes() == before
    metrics = json.loads((project / "metrics/metrics.json").read_text())
    assert (metrics["threshold"], metrics["threshold_source"]) == (0.2, "fixed")
    second, first = rows(project)
    assert second.data.params["localize.threshold"] == "0.2"
    assert second.data.params["train.lambda"] == first.data.params["train.lambda"]
    curves = [{k for k in row.data.metrics if k.startswith("train/")} for row in (first, second)]
    assert curves[0] == curves[1] != set()
    edit(project, {"localize.threshold": "auto"})
    back = pipeline(project, "repro")
    assert executed(back) == ["report", "track"], "the scores come from the cache; the page tells what changed"
    assert "<code>localize.threshold</code> 0.2 → auto" in (project / "report/index.html").read_text()
    assert len(rows(project)) == 2


def test_clamped_weights_rerun_extraction_and_later(project):
    before = (project / "models/model.pt").read_bytes()
    edit(project, {"extract_cams.clamp_negative_weights": True})
    done = pipeline(project, "repro", "evaluate")
    assert done.returncode == 0, done.stderr
    assert executed(done) == ["extract_cams", "localize", "evaluate"]
    assert (project / "models/model.pt").read_bytes() == before


def _kill_training(folder: Path) -> None:
    """Start the training and SIGKILL its process once a checkpoint is there."""
    dvc = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "repro", "train"],
        cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(folder.glob(".wsol/checkpoints/*.pt")):
        assert dvc.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for process in psutil.Process(dvc.pid).children(recursive=True):
        if process.cmdline()[-2:] == ["pipeline", "train"]:
            process.kill()
    assert dvc.wait(60) != 0


@pytest.fixture(scope="module")
def killed(first_run, tmp_path_factory):
    """A project whose training of 20 epochs was killed, and the same before that training."""
    folder = tmp_path_factory.mktemp("killed")
    for name in ("before", "killed"):
        shutil.copytree(first_run, folder / name, symlinks=True)
        edit(folder / name, {"train.epochs": 20})
    _kill_training(folder / "killed")
    assert not (folder / "killed/models/model.pt").exists()
    return folder


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(killed, tmp_path):
    shutil.copytree(killed, tmp_path, symlinks=True, dirs_exist_ok=True)
    resumed = pipeline(tmp_path / "killed", "repro", "train")
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from the checkpoint after epoch" in resumed.stderr
    uninterrupted = pipeline(tmp_path / "before", "repro", "train")
    assert "going on from" not in uninterrupted.stderr
    models = [tmp_path / name / "models/model.pt" for name in ("killed", "before")]
    assert models[0].read_bytes() == models[1].read_bytes()


def test_a_kill_before_dvc_has_the_model_loses_no_training(project):
    """A stage that was run by hand is one whose outputs DVC does not have; it removes them first."""
    edit(project, {"train.epochs": 3})
    assert pipeline(project, "train").returncode == 0
    files = [project / "models" / name for name in ("model.pt", "history.csv", "training.json")]
    written = [path.read_bytes() for path in files]
    again = pipeline(project, "repro", "train")
    assert again.returncode == 0, again.stderr
    assert executed(again) == ["train"]
    assert "going on from the checkpoint after epoch 3, step 0" in again.stderr
    assert "epoch 1/3" not in again.stderr and "epoch 3/3" not in again.stderr
    # Seconds and images per second too, which no second training would repeat.
    assert [path.read_bytes() for path in files] == written
    assert len(list(project.glob(".wsol/checkpoints/*.pt"))) == 1
    assert pipeline(project, "repro").returncode == 0
    assert not list(project.glob(".wsol/checkpoints/*.pt"))


def test_a_killed_training_is_not_continued_under_another_lambda(killed, tmp_path):
    shutil.copytree(killed, tmp_path, symlinks=True, dirs_exist_ok=True)
    for name in ("killed", "before"):
        edit(tmp_path / name, {"train.lambda": 0.5, "train.epochs": 6})
        done = pipeline(tmp_path / name, "repro", "train")
        assert done.returncode == 0, done.stderr
        assert "going on from" not in done.stderr
    models = [tmp_path / name / "models/model.pt" for name in ("killed", "before")]
    assert models[0].read_bytes() == models[1].read_bytes()


def test_a_new_lambda_reruns_train_and_later_and_an_unreachable_server_loses_none_of_it(project):
    edit(project, {"train.lambda": 0.25})
    away = "http://127.0.0.1:9"
    done = pipeline(project, "repro", MLFLOW_TRACKING_URI=away)
    assert done.returncode == 75
    assert "retry" in done.stderr.lower() or "again" in done.stderr
    assert "Traceback" not in done.stderr
    trained = (project / "models/model.pt").read_bytes()
    assert executed(done) == STAGES[1:]
    later = pipeline(project, "repro")
    assert later.returncode == 0, later.stderr
    assert executed(later) == ["track"]
    assert (project / "models/model.pt").read_bytes() == trained
    found = {row.data.params["train.lambda"]: row for row in rows(project)}
    assert found.keys() == {"0.25", "0.0001"}
    assert any(name.startswith("train/") for name in found["0.25"].data.metrics)


def test_another_workspace_files_its_row_in_the_same_database(project):
    made = pipeline(project, "workspace", "create", "other", "--set", "localize.threshold=0.4")
    assert made.returncode == 0, made.stderr
    workspace = Path(json.loads(made.stdout)["workspace"])
    done = pipeline(workspace, "repro")
    assert done.returncode == 0, done.stderr
    assert executed(done) == STAGES[3:], "the cache is shared"
    assert {row.data.params["localize.threshold"] for row in rows(project)} == {"auto", "0.4"}
    assert yaml.safe_load((project / "params.yaml").read_text())["localize"]["threshold"] == "auto"
