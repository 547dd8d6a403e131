"""One row per result: exact counts, with a real MLflow database."""

import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from pipeline.errors import TransientError, UserError
from pipeline.files import CAMS, MODELS, REPORT
from pipeline.params import load_params
from pipeline.promotion.commands import promote
from pipeline.stages import evaluate, track
from pipeline.system.locks import exclusive_lock
from pipeline.system.state import training_lock
from pipeline.tracking.runs import live_run
from pipeline.tracking.server import tracking_uri
from tests.sample_result import (
    EPOCHS,
    history_row,
    write_lock,
    write_page,
    write_params,
    write_result,
    write_run,
    write_training,
)

TRAIN_KEY = "a" * 32
NUMBERS_OF_HISTORY = len(history_row(1)) - 1


@pytest.fixture
def project(tmp_path, monkeypatch, state):
    """A folder with a finished run that has not been tracked."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_params(folder)
    write_run(folder)
    finish(folder)
    return folder


def finish(folder):
    write_result()
    write_page()
    write_lock(folder)


def rows():
    client = MlflowClient(tracking_uri())
    return client.search_runs([client.get_experiment_by_name("wsol").experiment_id], order_by=["start_time ASC"])


def points(run_id):
    client = MlflowClient(tracking_uri())
    names = client.get_run(run_id).data.metrics
    return sorted((m.key, m.step, m.value) for name in names for m in client.get_metric_history(run_id, name))


def artifacts(run_id, folder=None):
    return sorted(item.path for item in MlflowClient(tracking_uri()).list_artifacts(run_id, folder))


def test_the_trainings_checkpoints_are_no_longer_needed(project, state):
    folder = state / "checkpoints"
    folder.mkdir()
    for name in (f"{TRAIN_KEY}-0.pt", f"{TRAIN_KEY}-1.pt", f"{'b' * 32}-0.pt"):
        (folder / name).touch()
    with exclusive_lock(training_lock(TRAIN_KEY), "it"):  # somebody trains the same
        track.run(load_params())
    assert len(list(folder.glob("*.pt"))) == 3
    track.run(load_params())
    assert [path.name for path in folder.glob("*.pt")] == [f"{'b' * 32}-0.pt"]


def test_a_result_is_one_row_with_everything_in_it(project, monkeypatch):
    monkeypatch.setenv("WSOL_AIRFLOW_RUN", "manual__1")
    summary = track.run(load_params())
    (row,) = rows()
    assert summary == {"run_id": row.info.run_id, "run_key": row.data.tags["wsol.run_key"], "new": True}
    assert row.info.status == "FINISHED"
    assert row.data.params == {name: str(value) for name, value in load_params().flat().items()}
    assert row.data.params["train.lambda"] == "0.0001"
    metrics = yaml.safe_load((project / "metrics/metrics.json").read_text())
    assert row.data.metrics["test/gt_known_iou50"] == pytest.approx(metrics["test"]["gt_known_iou50"])
    assert row.data.metrics["val/cls_top1"] == pytest.approx(metrics["val"]["cls_top1"])
    assert row.data.metrics["threshold"] == pytest.approx(metrics["threshold"])
    assert (row.data.metrics["train_seconds"], row.data.metrics["train_parameters"]) == (12.5, 1234)
    assert row.data.metrics["GT-known 0.5"] == round(metrics["test"]["gt_known_iou50"], 2)
    assert min(row.data.metrics) == "Entropy"
    tags, lock = row.data.tags, yaml.safe_load((project / "dvc.lock").read_text())["stages"]
    assert tags["wsol.train_key"] == TRAIN_KEY
    assert tags["wsol.data_hash"] == lock["prepare"]["outs"][0]["md5"]
    assert tags["wsol.model_hash"] == lock["train"]["outs"][0]["md5"]
    assert (tags["wsol.threshold_source"], tags["wsol.train_device"]) == ("val", "CPU, 2 threads")
    assert (tags["wsol.airflow_run"], tags["wsol.git_commit"]) == ("manual__1", "unknown")
    assert tags["mlflow.runName"] == f"CAM KL0.0001 τ{metrics['threshold']:.3g} s0 resnet18 synthetic"
    assert artifacts(row.info.run_id) == ["metrics", "model", "provenance", "report"]
    assert artifacts(row.info.run_id, "model") == ["model/model.pt", "model/record.json", "model/training.json"]
    assert artifacts(row.info.run_id, "provenance") == ["provenance/dvc.lock", "provenance/params.yaml"]


def test_curves_lie_on_their_grids(project):
    run_id = track.run(load_params())["run_id"]
    logged = points(run_id)
    curve = [(step, value) for name, step, value in logged if name == "threshold_curve/test/gt_known_iou50"]
    assert [step for step, _ in curve] == list(range(100))
    lines = (project / "metrics/threshold_curve.csv").read_text().splitlines()
    column = lines[0].split(",").index("test_gt_known_iou50")
    for step in (0, 7, 29, 99):
        assert curve[step][1] == pytest.approx(float(lines[1 + 10 * step].split(",")[column]))
    losses = [(step, value) for name, step, value in logged if name == "train/loss"]
    assert losses == [(epoch, history_row(epoch)["loss"]) for epoch in range(1, EPOCHS + 1)]


def test_tracking_twice_changes_nothing(project):
    first = track.run(load_params())
    before = points(first["run_id"])
    second = track.run(load_params())
    assert second == first | {"new": False}
    assert len(rows()) == 1
    assert points(first["run_id"]) == before


def test_a_new_threshold_is_a_second_row_that_carries_the_training(project):
    first = track.run(load_params())
    write_params(project, localize__threshold=0.5)
    finish(project)
    second = track.run(load_params())
    assert len(rows()) == 2
    row = next(row for row in rows() if row.info.run_id == second["run_id"])
    assert row.data.params["train.lambda"] == "0.0001"
    assert row.data.params["localize.threshold"] == "0.5"
    assert row.data.tags["wsol.threshold_source"] == "fixed"
    assert row.data.metrics["threshold"] == 0.5
    assert row.data.metrics["train_seconds"] == 12.5
    assert sum(name.startswith("train/") for name, _, _ in points(second["run_id"])) == EPOCHS * NUMBERS_OF_HISTORY
    # The model is stored once.
    assert row.data.tags["wsol.model_run"] == first["run_id"]
    assert "model" not in artifacts(second["run_id"])


def test_a_model_whose_row_was_deleted_is_stored_again(project):
    first = track.run(load_params())
    MlflowClient(tracking_uri()).delete_run(first["run_id"])
    second = track.run(load_params())
    assert second["new"]
    assert artifacts(second["run_id"], "model") == ["model/model.pt", "model/record.json", "model/training.json"]


def test_the_streamed_run_becomes_the_row_and_only_gaps_are_filled(project):
    with live_run("wsol", TRAIN_KEY) as live:
        for epoch in (1, 3):
            live.log(history_row(epoch), epoch)
    (streamed,) = rows()
    assert streamed.data.params == {}
    summary = track.run(load_params())
    assert (summary["run_id"], summary["new"]) == (streamed.info.run_id, True)
    losses = [(step, value) for name, step, value in points(summary["run_id"]) if name == "train/loss"]
    assert losses == [(epoch, history_row(epoch)["loss"]) for epoch in (1, 2, 3)]
    assert len(rows()) == 1


def test_a_streamed_run_of_another_training_is_left_alone(project):
    live_run("wsol", "b" * 32).log({"loss": 1.0}, 1)
    track.run(load_params())
    assert len(rows()) == 2


def test_the_same_training_repeated_with_the_same_result_leaves_one_row(project):
    first = track.run(load_params())
    with live_run("wsol", TRAIN_KEY) as live:
        live.log(history_row(1), 1)
    assert track.run(load_params())["run_id"] == first["run_id"]
    assert len(rows()) == 1


def test_another_training_with_the_same_result_keeps_its_streamed_run(project):
    track.run(load_params())
    write_training(project, train_key="b" * 32)
    write_lock(project)
    with live_run("wsol", "b" * 32) as live:
        live.log(history_row(1), 1)
    second = track.run(load_params())
    assert track.run(load_params())["run_id"] == second["run_id"]
    assert len(rows()) == 2


def test_a_setting_that_changes_no_result_keeps_the_row(project):
    first = track.run(load_params())
    write_params(project, extract_cams__batch_size=8)
    assert track.run(load_params())["run_id"] == first["run_id"]
    assert rows()[0].data.params["extract_cams.batch_size"] == "64"


def test_two_models_are_stored_separately(project):
    track.run(load_params())
    write_training(project, train_key="b" * 32, model=b"other weights")
    write_params(project, localize__threshold=0.5)
    finish(project)
    second = track.run(load_params())
    assert artifacts(second["run_id"], "model") == ["model/model.pt", "model/record.json", "model/training.json"]


def test_a_server_that_is_away_means_retry_later_and_nothing_is_lost(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with live_run("wsol", TRAIN_KEY) as live:
        live.log(history_row(1), 1)
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:9 does not answer.*retry later"):
        track.run(load_params())
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    track.run(load_params())
    (row,) = rows()
    assert sum(name.startswith("train/") for name, _, _ in points(row.info.run_id)) == EPOCHS * NUMBERS_OF_HISTORY


def test_a_row_left_half_done_is_completed(project, monkeypatch):
    def fail(*_):
        raise ConnectionError("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(track.Row, "log_files", fail)
        with pytest.raises(TransientError, match="connection lost"):
            track.run(load_params())
    assert rows()[0].info.status == "RUNNING"
    half = points(rows()[0].info.run_id)
    track.run(load_params())
    (row,) = rows()
    assert row.info.status == "FINISHED"
    assert points(row.info.run_id) == half
    assert artifacts(row.info.run_id) == ["metrics", "model", "provenance", "report"]


@pytest.mark.parametrize(("status", "error"), [(403, UserError), (404, UserError), (503, TransientError)])
def test_a_refusal_is_not_a_fault(project, monkeypatch, status, error):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(status)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(error, match=f"127.0.0.1:{server.server_port}"):
        track.run(load_params())
    server.shutdown()
    server.server_close()


def test_a_deleted_experiment_is_named_with_the_way_out(project):
    track.run(load_params())
    client = MlflowClient(tracking_uri())
    client.delete_experiment(client.get_experiment_by_name("wsol").experiment_id)
    with pytest.raises(UserError, match="mlflow experiments restore"):
        track.run(load_params())


def test_stages_run_by_hand_are_known_by_their_files(project):
    (project / "dvc.lock").unlink()
    first = track.run(load_params())
    assert track.run(load_params())["run_id"] == first["run_id"]
    (row,) = rows()
    assert row.data.tags["wsol.key_source"] == "files"
    assert row.data.tags["wsol.data_hash"] == "c0ffee"


def test_a_lock_of_other_files_is_not_believed(project):
    first = track.run(load_params())
    write_params(project, localize__threshold=0.5)
    write_result()  # by hand: dvc.lock still tells of the first result
    write_page()
    second = track.run(load_params())
    assert second["run_key"] != first["run_key"]
    assert len(rows()) == 2


def test_a_missing_report_names_the_stage_to_run(project):
    (project / REPORT / "index.html").unlink()
    with pytest.raises(UserError, match="pipeline report"):
        track.run(load_params())


def test_a_damaged_lock_is_named(project):
    (project / "dvc.lock").write_text("stages: [")
    with pytest.raises(UserError, match=r"dvc\.lock"):
        track.run(load_params())


def test_the_commit_and_the_patch_are_those_of_the_first_tracking(project):
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    (project / "pipeline").mkdir()
    (project / "pipeline/code.py").write_text("a = 1\n")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "pipeline", "params.yaml"], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    (project / "pipeline/code.py").write_text("a = 2\n")
    run_id = track.run(load_params())["run_id"]
    (project / "pipeline/code.py").write_text("a = 3\n")
    track.run(load_params())
    (row,) = rows()
    assert (row.data.tags["wsol.git_commit"], row.data.tags["wsol.dirty"]) == (head, "true")
    patch = MlflowClient(tracking_uri()).download_artifacts(run_id, "provenance/uncommitted.patch", str(project))
    assert "+a = 2" in Path(patch).read_text()


def test_every_name_is_one_mlflow_allows(project):
    track.run(load_params())
    (row,) = rows()
    allowed = set("/_.- :") | {chr(c) for c in range(128) if chr(c).isalnum()}
    names = [*row.data.params, *row.data.metrics, *row.data.tags]
    assert len(names) > 60
    assert not set("".join(names)) - allowed


def test_without_boxes_the_row_has_classification_only(tmp_path, monkeypatch, state):
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, localize__threshold=0.2)
    write_run(tmp_path, boxes=False, masks=False)
    finish(tmp_path)
    track.run(load_params())
    (row,) = rows()
    assert "test/cls_top1" in row.data.metrics
    assert not [name for name in row.data.metrics if "gt_known" in name]
    headlines = {name for name in row.data.metrics if name[0].isupper()}
    assert headlines == {"Entropy", "Tau", "Top-1 cls", "Training minutes", "Val Top-1 cls"}
    assert not (tmp_path / MODELS / "mlruns").exists()


def test_the_overrides_of_a_workspace_do_not_make_it_dirty(project):
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "params.yaml"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run(["git", "update-index", "--assume-unchanged", "params.yaml"], check=True)
    write_params(project, localize__threshold=0.5)
    track.run(load_params())
    (row,) = rows()
    assert row.data.tags["wsol.dirty"] == "false"
    assert "provenance/uncommitted.patch" not in artifacts(row.info.run_id, "provenance")


@pytest.mark.parametrize("lock", [True, False])
def test_a_model_that_was_replaced_after_the_run_is_not_tracked(project, lock):
    """By a stage that lived on: in whole, with a record of its own."""
    if not lock:
        (project / "dvc.lock").unlink()
    write_params(project, seed=1)
    write_training(project, train_key="b" * 32, model=b"other weights")
    write_params(project)
    shutil.rmtree(project / CAMS)  # as carried back from another machine
    with pytest.raises(UserError, match=r"made from another models than the one here"):
        track.run(load_params())
    with pytest.raises(UserError, match=r"made from another models than the one here"):
        promote("")
    assert not MlflowClient(tracking_uri()).get_experiment_by_name("wsol")


@pytest.mark.parametrize(
    "name",
    [
        "models/model.pt",
        "models/history.csv",
        "metrics/per_image.parquet",
        "metrics/threshold_curve.csv",
        "metrics/metrics.json",
        "metrics/reliability.json",
        "report/index.html",
    ],
)
@pytest.mark.parametrize("lock", [True, False])
def test_a_file_that_was_changed_after_the_run_is_named(project, lock, name):
    if not lock:
        (project / "dvc.lock").unlink()
    path = project / name
    path.write_bytes(path.read_bytes()[:-1] + b"~")
    with pytest.raises(UserError, match=rf"{path} is not the file that stage \w+ wrote"):
        track.run(load_params())


def test_a_training_that_the_lock_does_not_name_is_refused(project):
    write_training(project, train_key="b" * 32)
    with pytest.raises(UserError, match=r"models/training\.json is not the one that dvc\.lock names.*dvc checkout"):
        track.run(load_params())


@pytest.mark.parametrize("lock", [True, False])
def test_the_parameters_are_those_the_result_was_made_with(project, lock, tmp_path):
    if not lock:
        (project / "dvc.lock").unlink()
    made_with = load_params().flat()
    write_params(project, train__lambda=0.5, seed=7, localize__threshold=0.9, prepare__val_fraction=0.5)
    run_id = track.run(load_params())["run_id"]
    (row,) = rows()
    assert row.data.params == {name: str(value) for name, value in made_with.items()}
    assert "KL0.0001" in row.data.tags["mlflow.runName"]
    kept = MlflowClient(tracking_uri()).download_artifacts(run_id, "provenance/params.yaml", str(tmp_path))
    assert load_params(Path(kept)).flat() == made_with
    assert ("provenance/dvc.lock" in artifacts(run_id, "provenance")) is lock


def test_stages_that_ran_with_different_values_are_named(project):
    (project / "dvc.lock").unlink()
    write_params(project, evaluate__interval=0.01)
    evaluate.run(load_params())  # by hand: localize had chosen on another grid
    write_page()
    with pytest.raises(UserError, match=r"evaluate\.interval was 0\.01 when evaluate ran, and 0\.001"):
        track.run(load_params())


@pytest.mark.parametrize("problem", ["dubious ownership", "nothing was committed yet", "git is not on PATH"])
def test_what_git_refuses_is_said_and_completed_later(project, monkeypatch, capfd, problem):
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run([*git, "init", "-q"], check=True)
    with monkeypatch.context() as patch:
        if problem != "nothing was committed yet":
            subprocess.run([*git, "commit", "-qm", "first", "--allow-empty"], check=True)
            patch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        if problem == "git is not on PATH":
            patch.setenv("PATH", "/nowhere")
        track.run(load_params())
    assert problem in capfd.readouterr().err
    (row,) = rows()
    assert (row.data.tags["wsol.git_commit"], row.data.tags["wsol.dirty"]) == ("unknown", "unknown")
    subprocess.run([*git, "add", "params.yaml"], check=True)
    subprocess.run([*git, "commit", "-qm", "second"], check=True)
    track.run(load_params())
    (row,) = rows()
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert (row.data.tags["wsol.git_commit"], row.data.tags["wsol.dirty"]) == (head, "false")
