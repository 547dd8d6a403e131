"""Sweeps with trials that only pretend to run: what is kept, ranked and recorded, and what runs again."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from pipeline.errors import DataError, TransientError, UserError, WsolError
from pipeline.execution import preflight
from pipeline.sweeps import runner
from pipeline.sweeps.runner import run_sweep
from pipeline.sweeps.space import read_sweep
from pipeline.sweeps.trial import Done
from pipeline.system.locks import exclusive_lock
from pipeline.tracking import server
from pipeline.tracking.server import tracking_uri

ROOT = Path(__file__).parents[2]
LAMBDAS = [0.0, 0.1, 0.2]


class Pipeline:
    """Stands in for real trials: the larger λ, the better on val and the worse on test."""

    def __init__(self):
        self.ran = []
        self.failing = {}

    def __call__(self, name, overrides, base, lock):
        self.ran.append(name)
        if name in self.failing:
            raise self.failing[name]
        value = 50 + 100 * overrides["train.lambda"]
        client = server.client()
        row = client.create_run(server.experiment_id(client, "wsol"), run_name=name)
        val, test = ({"gt_known_iou50": figure, "cls_top1": 90.0} for figure in (value, 99 - value))
        return Done({"threshold": 0.5, "threshold_source": "val", "val": val, "test": test}, row.info.run_id)


@pytest.fixture
def trials(tmp_path, monkeypatch, state):
    """A folder with parameters and a sweep over three values of λ."""
    folder = tmp_path / "project"
    (folder / "pipeline/data/sets").mkdir(parents=True)
    (folder / "data/synthetic").mkdir(parents=True)
    (folder / "pipeline/code.py").write_text("first")
    (folder / "dvc.yaml").write_text("stages: {train: {cmd: x, deps: [pipeline/code.py, pipeline/data]}}")
    shutil.copy(ROOT / "params.yaml", folder)
    monkeypatch.chdir(folder)
    write()
    monkeypatch.setattr(runner, "run_trial", stand_in := Pipeline())
    return stand_in


def write(lambdas=LAMBDAS, **keys):
    text = yaml.safe_dump({"name": "s", "method": "grid", "space": {"train.lambda": lambdas}} | keys)
    Path("sweep.yaml").write_text(text)


def run():
    return run_sweep(read_sweep(Path("sweep.yaml")))


def runs():
    client = MlflowClient(tracking_uri())
    return client.search_runs([client.get_experiment_by_name("wsol").experiment_id], order_by=["start_time ASC"])


def parents():
    return [row for row in runs() if "wsol.sweep_key" in row.data.tags]


def children(parent):
    return [r.info.run_name for r in runs() if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]


def test_trials_are_ranked_on_val(trials, state):
    outcome = run()
    assert trials.ran == ["s-001", "s-002", "s-003"]
    table = pd.read_csv(outcome["ranking"])
    assert list(table["rank"]) == [1, 2, 3]
    assert list(table["trial"]) == [3, 2, 1]
    assert list(table["train.lambda"]) == [0.2, 0.1, 0.0]
    assert list(table["val.gt_known_iou50"]) == [70.0, 60.0, 50.0]
    assert list(table["test.gt_known_iou50"]) == [29.0, 39.0, 49.0]
    assert outcome.pop("ranking").startswith(f"{state}/sweeps/s-")
    assert outcome.pop("promote") == f"python -m pipeline promote --run {table['run_id'][0]}"
    assert outcome == {
        "sweep": "s", "trials": 3, "failed": 0, "run_id": parents()[0].info.run_id,
        "best": {"trial": 3, "train.lambda": 0.2, "val.gt_known_iou50": 70.0, "test.gt_known_iou50": 29.0},
    }  # fmt: skip
    json.dumps(outcome)


def test_the_earlier_of_two_equals_is_first(trials):
    write(metric="val.cls_top1")
    assert run()["best"]["trial"] == 1


def test_one_parent_has_the_trials_as_children(trials, tmp_path):
    run()
    (parent,) = parents()
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == "s"
    assert children(parent) == ["s-001", "s-002", "s-003"]
    assert parent.data.params == {
        "method": "grid", "metric": "val.gt_known_iou50", "base": "params.yaml", "trials": "3",
        "space.train.lambda": "[0.0, 0.1, 0.2]",
    }  # fmt: skip
    assert parent.data.metrics == {
        "val/gt_known_iou50": 70.0, "val/cls_top1": 90.0, "test/gt_known_iou50": 29.0, "test/cls_top1": 90.0,
    }  # fmt: skip
    client = MlflowClient(tracking_uri())
    table, source = sorted(item.path for item in client.list_artifacts(parent.info.run_id))
    assert source == "sweep.yaml"
    ranking = pd.read_csv(client.download_artifacts(parent.info.run_id, table, str(tmp_path)))
    assert list(ranking["trial"]) == [3, 2, 1]
    assert "trial 3, train.lambda=0.2" in parent.data.tags["mlflow.note.content"]


def test_a_finished_sweep_runs_nothing_again(trials):
    first = run()
    before = [(row.info.run_id, row.info.end_time) for row in runs()]
    assert run() == first
    assert len(trials.ran) == 3
    assert [(row.info.run_id, row.info.end_time) for row in runs()] == before
    client = MlflowClient(tracking_uri())
    assert len(client.get_metric_history(first["run_id"], "val/gt_known_iou50")) == 1


@pytest.mark.parametrize(
    ("stop", "status"), [(KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED"), (ValueError("bug"), "FAILED")]
)
def test_a_stopped_sweep_goes_on_where_it_stopped(trials, stop, status, capsys):
    trials.failing = {"s-002": stop}
    with pytest.raises(type(stop)):
        run()
    assert [row.info.status for row in parents()] == [status]
    assert ("Go on with: python -m pipeline sweep sweep.yaml" in capsys.readouterr().err) == (status == "KILLED")
    trials.failing = {}
    assert run()["failed"] == 0
    assert trials.ran == ["s-001", "s-002", "s-002", "s-003"]
    (parent,) = parents()
    assert parent.info.status == "FINISHED"
    assert children(parent) == ["s-001", "s-002", "s-003"]


def test_a_failing_trial_is_kept_with_its_reason_and_stops_no_other(trials, capsys):
    trials.failing = {"s-002": DataError("image a.jpg is damaged")}
    outcome = run()
    assert trials.ran == ["s-001", "s-002", "s-003"]
    assert (outcome["trials"], outcome["failed"]) == (3, 1)
    table = pd.read_csv(outcome["ranking"])
    assert list(table["trial"]) == [3, 1, 2]
    assert table["rank"].isna().tolist() == [False, False, True]
    assert table["reason"][2] == "image a.jpg is damaged"
    assert "trial 2 (train.lambda=0.1) failed: image a.jpg is damaged" in capsys.readouterr().err
    trials.failing = {}
    again = run()
    assert trials.ran[3:] == ["s-002"]
    assert again["failed"] == 0
    assert len(parents()) == 1
    client = MlflowClient(tracking_uri())
    assert [m.step for m in client.get_metric_history(again["run_id"], "val/gt_known_iou50")] == [2, 3]


def test_failed_trials_are_tried_again_after_those_never_run(trials):
    trials.failing = {"s-001": DataError("damaged"), "s-002": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        run()
    trials.failing = {}
    run()
    assert trials.ran[2:] == ["s-002", "s-003", "s-001"]


def test_nothing_to_rank_is_an_error(trials):
    trials.failing = {f"s-00{i}": DataError("damaged") for i in (1, 2, 3)}
    with pytest.raises(WsolError, match="all 3 trials of s failed"):
        run()
    assert parents()[0].info.status == "FAILED"
    trials.failing = {}
    assert run()["failed"] == 0
    assert len(parents()) == 1


def test_another_metric_ranks_anew_and_runs_nothing(trials):
    run()
    write(metric="val.cls_top1")
    assert run()["best"]["trial"] == 1
    assert len(trials.ran) == 3
    by_lambda, by_class = parents()
    assert children(by_class) == ["s-001", "s-002", "s-003"]
    assert children(by_lambda) == []


def test_a_metric_that_was_not_measured_stops_at_the_first_trial(trials):
    write(metric="val.pxap")
    with pytest.raises(UserError, match=r"no val\.pxap; it has cls_top1, gt_known_iou50"):
        run()
    assert trials.ran == ["s-001"]
    write()
    run()
    assert trials.ran == ["s-001", "s-002", "s-003"]


@pytest.mark.parametrize("changed", ["pipeline/code.py", "params.yaml", "dvc.yaml"])
def test_other_code_or_parameters_are_another_sweep(trials, changed):
    run()
    text = Path(changed).read_text()
    edits = {"params.yaml": text.replace("seed: 0 ", "seed: 5 ", 1), "dvc.yaml": text.replace("cmd: x", "cmd: y")}
    Path(changed).write_text(edits.get(changed, "second"))
    run()
    assert len(trials.ran) == 6
    assert len(parents()) == 2


def test_a_comment_in_the_parameters_changes_nothing(trials):
    run()
    Path("params.yaml").write_text("# mine\n" + Path("params.yaml").read_text())
    run()
    assert len(trials.ran) == 3


def test_code_that_changes_between_two_trials_stops_the_sweep(trials, monkeypatch):
    def edit(*arguments):
        Path("pipeline/code.py").write_text("second")
        return trials(*arguments)

    monkeypatch.setattr(runner, "run_trial", edit)
    with pytest.raises(UserError, match="has changed since the sweep began"):
        run()
    assert trials.ran == ["s-001"]


def test_inputs_are_checked_before_anything_runs(trials):
    Path("data/synthetic").rmdir()
    with pytest.raises(DataError, match=r"prepare\.root"):
        run()
    assert trials.ran == []


def test_raw_data_are_walked_once_and_every_network_is_checked(trials, monkeypatch):
    walked = []
    monkeypatch.setattr(preflight, "files_below", walked.append)
    Path("weights.pth").touch()
    write(space={"train.lambda": LAMBDAS, "train.pretrained": [False, "weights.pth"]})
    with pytest.raises(UserError, match=r"weights\.pth is not a readable"):
        run()
    layers = {"extract_cams.method": ["ddt"], "extract_cams.ddt_layers": [["features.17@96"], ["layer9@96"]]}
    write(space={"train.lambda": LAMBDAS, "train.backbone": ["mobilenet_v2"], **layers})
    with pytest.raises(UserError, match="has no layer layer9"):
        run()
    assert len(walked) == 2
    assert trials.ran == []


def test_a_server_that_is_away_stops_the_sweep_before_its_first_trial(trials, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(server, "PROBE_PATIENCE", (1, 0))
    with pytest.raises(TransientError, match=r"retry later with `python -m pipeline sweep sweep\.yaml`"):
        run()
    assert trials.ran == []


def test_two_at_once_are_refused(trials, state):
    with exclusive_lock(state / "sweeps/s.lock", "sweep s"), pytest.raises(TransientError, match="sweep s is at work"):
        run()
    assert trials.ran == []
