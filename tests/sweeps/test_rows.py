"""Sweeps of the DAG in MLflow: one parent, its rows, the best on val."""

import csv
import io
from pathlib import Path

import pytest

from pipeline.errors import UserError, WsolError
from pipeline.files import METRICS, read_json, write_json
from pipeline.params import load_params
from pipeline.stages import track
from pipeline.sweeps import rows
from pipeline.sweeps.rows import add_row, close_sweep, open_sweep, run_ids_of
from tests.promotion.test_commands import NAMES, client
from tests.sample_result import write_lock, write_params, write_result, write_scores_record, write_training

NAME = "manual__2026-01-01T00:00:00+00:00"


def row(folder, name, val, test=50.0):
    """A tracked result under the sweep, with these accuracies."""
    write_params(folder, train__lambda=NAMES.index(name) / 10)
    write_training(folder, train_key=name * 32, model=name.encode())
    write_result()
    metrics = read_json(METRICS / "metrics.json", dict)
    metrics["val"]["gt_known_iou50"], metrics["test"]["gt_known_iou50"] = val, test
    write_json(METRICS / "metrics.json", metrics)
    write_scores_record()
    write_lock(folder)
    run_id = track.run(load_params())["run_id"]
    assert add_row(NAME) == {"run_id": run_id}
    return run_id


def test_rows_stand_under_one_parent_and_the_best_on_val_is_marked(scored):
    parent = open_sweep(NAME)["run_id"]
    assert open_sweep(NAME)["run_id"] == parent
    a, b = row(scored, "a", val=40.0, test=90.0), row(scored, "b", val=60.0, test=10.0)
    answer = close_sweep(NAME, [a, b], expected=2)
    assert answer == {
        "run_id": parent,
        "best": b,
        "val/gt_known_iou50": 60.0,
        "promote": f"python -m pipeline promote --run {b}",
    }
    for run in (a, b):
        assert client().get_run(run).data.tags["mlflow.parentRunId"] == parent
    assert client().get_run(b).data.tags["wsol.best_of"] == NAME
    assert "wsol.best_of" not in client().get_run(a).data.tags
    found = client().get_run(parent)
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"best/val/gt_known_iou50": 60.0, "best/test/gt_known_iou50": 10.0}
    table = Path(client().download_artifacts(parent, "ranking.csv", str(scored))).read_text().splitlines()
    assert table == [
        "run,train.lambda,val/gt_known_iou50,test/gt_known_iou50",
        f"{b},0.1,60.00,10.00",
        f"{a},0.0,40.00,90.00",
    ]


def test_the_table_keeps_lists_and_texts_in_their_cells():
    cells = ["[0, 16]", 'a "b"', "two\nlines"]
    assert list(csv.reader(io.StringIO(rows._csv([cells, cells])))) == [cells, cells]


def test_a_missing_row_fails_after_the_others_are_compared(scored):
    parent = open_sweep(NAME)["run_id"]
    a = row(scored, "a", val=40.0)
    with pytest.raises(WsolError, match="1 of 2 rows"):
        close_sweep(NAME, [a], expected=2)
    assert client().get_run(a).data.tags["wsol.best_of"] == NAME
    assert client().get_run(parent).info.status == "FAILED"
    b = row(scored, "b", val=60.0)
    close_sweep(NAME, [a, b], expected=2)
    assert "wsol.best_of" not in client().get_run(a).data.tags
    assert client().get_run(parent).info.status == "FINISHED"


def test_rows_with_the_same_result_count_once_each(scored):
    a = row(scored, "a", val=40.0)
    assert close_sweep(NAME, [a, a], expected=2)["best"] == a


def test_a_sweep_in_which_nothing_ended_says_so(scored):
    parent = open_sweep(NAME)["run_id"]
    with pytest.raises(UserError, match="nothing to compare"):
        close_sweep(NAME, [], expected=3)
    assert client().get_run(parent).info.status == "FAILED"


def test_a_row_without_the_metric_fails_the_sweep(scored):
    parent, a = open_sweep(NAME)["run_id"], row(scored, "a", val=40.0)
    write_params(scored, evaluate__iou=[0.3, 0.4, 0.5, 0.7], promote__metric="gate.gt_known_iou40")
    with pytest.raises(UserError, match=f"{a} have no val/gt_known_iou40"):
        close_sweep(NAME, [a], expected=1)
    assert client().get_run(parent).info.status == "FAILED"


def test_a_row_that_mlflow_does_not_know_fails_the_sweep(scored):
    parent = open_sweep(NAME)["run_id"]
    with pytest.raises(UserError, match="nothing"):
        close_sweep(NAME, ["nothing"], expected=1)
    assert client().get_run(parent).info.status == "FAILED"


def test_closing_a_sweep_that_was_not_opened_makes_no_run(scored):
    with pytest.raises(UserError, match="was not opened"):
        close_sweep(NAME, [], expected=0)
    assert not client().search_runs([found.experiment_id for found in client().search_experiments()])


@pytest.mark.parametrize(("run_ids", "expected"), [([], -1), (["a", "b"], 1)])
def test_more_rows_than_there_were_are_refused(run_ids, expected):
    with pytest.raises(UserError, match=f"there cannot have been {expected}"):
        close_sweep(NAME, run_ids, expected)


def test_answers_of_rows_that_failed_are_left_out():
    assert run_ids_of('[{"run_id": "a"}, null, {}, {"run_id": "b"}]') == ["a", "b"]


@pytest.mark.parametrize("answers", ["nonsense", "", "5", '{"run_id": "a"}', "null"])
def test_answers_that_are_no_list_are_refused(answers):
    with pytest.raises(UserError, match="is no JSON list"):
        run_ids_of(answers)
