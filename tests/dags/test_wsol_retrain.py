"""The DAG against dvc.yaml and params.yaml, each read by other means than the DAG's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag

CHECKOUT = Path(__file__).parents[2]
FRAME = {"workspace", "check", "remove_workspace"}


@pytest.fixture(scope="module")
def dag():
    bag = DagBag(str(CHECKOUT / "dags"))
    assert bag.import_errors == {}
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


def test_the_schedule_is_weekly_without_catching_up(dag):
    assert not dag.catchup
    assert dag.max_active_runs == 1
    assert dag.timetable.expression == "0 0 * * 0"


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
