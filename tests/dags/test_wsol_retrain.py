"""The DAG against dvc.yaml and params.yaml, each read by other means than the DAG's own."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.models.dagrun import DagRun
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable
from airflow.timetables import trigger
from airflow.timetables.base import TimeRestriction

CHECKOUT = Path(__file__).parents[2]
TEARDOWNS = {"remove_workspace", "completed"}
FRAME = {"workspace", "check", "judge", "approve", "promote", "publish"} | TEARDOWNS


@pytest.fixture(scope="module")
def bag():
    bag = DagBag(str(CHECKOUT / "dags"))
    assert bag.import_errors == {}
    return bag


@pytest.fixture(scope="module")
def dag(bag):
    return bag.dags["wsol_retrain"]


@pytest.fixture(scope="module")
def dvc_edges():
    """(upstream, downstream) of every pair of stages, as DVC itself sees them."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "dag", "--dot"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    pairs = (line.strip(" ;").split(" -> ") for line in done.stdout.replace('"', "").splitlines() if "->" in line)
    return {(first.strip(), second.strip()) for first, second in pairs}


def test_stage_edges_are_those_of_dvc(dag, dvc_edges):
    edges = {(task.task_id, other) for task in dag.tasks for other in task.downstream_task_ids}
    assert {pair for pair in edges if not FRAME & set(pair)} == dvc_edges
    assert len(dvc_edges) >= 6


def test_every_stage_is_a_task_between_check_and_removal(dag):
    stages = yaml.safe_load((CHECKOUT / "dvc.yaml").read_text())["stages"]
    assert set(dag.task_dict) == set(stages) | FRAME
    assert dag.task_dict["check"].upstream_task_ids == {"workspace"}
    for name in stages:
        assert "check" in dag.task_dict[name].get_flat_relative_ids(upstream=True), name
        assert "remove_workspace" in dag.task_dict[name].get_flat_relative_ids(upstream=False), name
    assert dag.task_dict["workspace"].is_setup
    assert dag.task_dict["remove_workspace"].is_teardown


def test_description_and_limits_come_from_dvc_yaml(dag):
    for name, stage in yaml.safe_load((CHECKOUT / "dvc.yaml").read_text())["stages"].items():
        task = dag.task_dict[name]
        assert task.doc_md == stage["desc"]
        assert task.retries == stage["meta"]["retries"]
        assert task.execution_timeout.total_seconds() == 60 * stage["meta"]["timeout_minutes"]
        assert task.arguments == ["repro", "--single-item", name]


def test_the_schedule_is_weekly_or_new_data_without_catching_up(dag):
    assert not dag.catchup
    assert dag.max_active_runs == 1
    assert dag.timetable.timetable.expression == "0 0 * * 0"
    assert [asset.name for asset in dag.timetable.asset_condition.objects] == ["wsol_raw_data"]


def test_no_task_emits_what_starts_the_run(dag, bag):
    assert [task.task_id for task in dag.tasks if task.outlets] == []
    emitting = {task.dag_id for other in bag.dags.values() for task in other.tasks if task.outlets}
    assert emitting == {"wsol_watch"}


def test_who_switches_it_on_starts_no_run_at_once(dag, monkeypatch):
    sunday = datetime(2026, 11, 22, tzinfo=UTC)
    monkeypatch.setattr(trigger, "utcnow", lambda: sunday + timedelta(hours=1))
    timetable = decode_timetable(encode_timetable(dag.timetable))
    nothing = TimeRestriction(earliest=None, latest=None, catchup=False)
    info = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=nothing)
    assert info.run_after == sunday + timedelta(days=7)


def test_promotion_and_publishing_follow_the_last_stage_in_order(dag):
    chain = ["track", "judge", "approve", "promote", "publish", "remove_workspace"]
    for first, second in pairwise(chain):
        assert dag.task_dict[first].downstream_task_ids - TEARDOWNS <= {second}
        assert second in dag.task_dict[first].downstream_task_ids
    assert dag.task_dict["promote"].trigger_rule == "none_failed"


@dataclass(frozen=True)
class Task:
    """What the state of a run is taken from."""

    task_id: str
    state: str


def test_the_state_of_a_run_is_that_of_the_watcher_alone_which_a_cancelled_run_does_not_skip(dag):
    tasks = [Task(task_id, "skipped") for task_id in dag.task_dict]
    assert {task.task_id for task in DagRun()._tis_for_dagrun_state(dag=dag, tis=tasks)} == {"completed"}
    watcher = dag.task_dict["completed"]
    assert watcher.is_teardown
    assert watcher.upstream_task_ids == {"publish"}


@pytest.mark.parametrize("state", ["success", "failed", "upstream_failed", "skipped", None])
def test_a_run_whose_last_task_did_not_succeed_is_a_failure(dag, state):
    states = {"r": {"publish": state}}
    ti = SimpleNamespace(dag_id="wsol_retrain", run_id="r", get_task_states=lambda **asked: states)
    expected = nullcontext() if state == "success" else pytest.raises(AirflowFailException, match=f"publish is {state}")
    with expected:
        dag.task_dict["completed"].python_callable(ti)


def test_people_are_told_how_a_run_ended(dag):
    told = [callback.outcome for callback in (dag.on_success_callback, dag.on_failure_callback)]
    assert told == ["succeeded", "failed"]


def render(dag, task_id, **xcoms):
    """The template fields of a task where others returned these values."""
    task = dag.task_dict[task_id].prepare_for_execution()
    task.render_template_fields({"ti": SimpleNamespace(xcom_pull=lambda task_ids: xcoms.get(task_ids))})
    return task


@pytest.mark.parametrize(
    ("answer", "option"),
    [(None, "none"), ({"chosen_options": ["Approve"]}, "Approve"), ({"chosen_options": ["Reject"]}, "Reject")],
)
def test_the_answer_of_the_person_reaches_promote(dag, answer, option):
    task = render(dag, "promote", approve=answer, workspace={"workspace": "/w"})
    assert task.arguments == ["promote", f"--approval={option}"]


def test_the_person_sees_the_numbers(dag):
    row = {"metric": "m", "challenger": 2.0, "champion": 1.0, "difference": 1.0, "low": 0.5, "high": 1.5,
           "against": "champion"}  # fmt: skip
    first = row | {"metric": "n", "champion": None, "difference": None, "low": None, "high": None}
    blind = row | {"against": "the full image"}
    judged = {
        "verdict": "would be promoted",
        "reason": "why",
        "run_id": "r",
        "run_name": "x",
        "comparisons": [row, first, blind],
    }
    lines = render(dag, "approve", judge=judged).body.splitlines()
    assert "| m | 1.00 | 2.00 | +1.00 | [+0.50, +1.50] |" in lines
    assert "| n | – | 2.00 | – | – |" in lines
    assert "| m against the full image | 1.00 | 2.00 | +1.00 | [+0.50, +1.50] |" in lines


@pytest.mark.parametrize("task_id", ["judge", "approve"])
def test_nobody_is_asked_unless_the_form_says_so(dag, task_id):
    assert dag.params["approval"] is False
    hook = dag.task_dict[task_id]._pre_execute_hook
    with pytest.raises(AirflowSkipException):
        hook({"params": {"approval": False}})
    assert hook({"params": {"approval": True}}) is None


def test_the_form_has_the_run_options_and_every_parameter(dag):
    assert dag.params["in_place"] is False
    assert dag.params["revision"] is None
    assert {"train.lambda", "localize.threshold"} < set(dag.params)
    dag.params.validate()


def test_parsing_imports_nothing_heavy_and_nothing_of_the_pipeline():
    code = "import wsol_retrain, sys, json; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT / "dags")},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert "airflow" in modules
    assert not modules & {"torch", "torchvision", "mlflow", "dvc", "pandas", "cv2", "pipeline"}
