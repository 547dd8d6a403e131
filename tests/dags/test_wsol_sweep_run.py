"""A whole sweep by Airflow itself on a small project: two rows that end, one that cannot."""

import json
import shutil
import subprocess
import sys

import pytest
from mlflow import MlflowClient

from tests.project import SET_UP_AIRFLOW, environment, make_project

ROWS = ['{"localize.threshold": 0.25}', '{"localize.threshold": 0.5}', '{"train.lamda": 1}']


@pytest.mark.slow
def test_rows_are_compared_though_one_has_failed(tmp_path, migrated_airflow, empty_database):
    project = make_project(tmp_path / "project")
    state = project / ".wsol"
    shutil.copytree(migrated_airflow, state / "airflow")
    (state / "mlflow.db").write_bytes(empty_database)
    own = environment(AIRFLOW_HOME=str(state / "airflow"), WSOL_STATE=str(state))
    subprocess.run([sys.executable, "-c", SET_UP_AIRFLOW], cwd=project, env=own, check=True)
    conf = json.dumps({"lambdas": [], "rows": ROWS})
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "dags", "test", "wsol_sweep", "--conf", conf],
        cwd=project, env=own, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    log = done.stdout + done.stderr
    assert "did you mean train.lambda" in log
    assert "1 of 3 rows did not come to an end" in log
    assert done.returncode == 1
    client = MlflowClient(f"sqlite:///{state}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("wsol").experiment_id])
    (parent,) = (run for run in runs if "wsol.sweep_key" in run.data.tags)
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {run.data.params["localize.threshold"] for run in children} == {"0.25", "0.5"}
    assert len({run.data.tags["wsol.model_hash"] for run in children}) == 1
    best = max(children, key=lambda run: run.data.metrics["val/gt_known_iou50"])
    marked = [run for run in children if "wsol.best_of" in run.data.tags]
    assert [run.data.metrics["val/gt_known_iou50"] for run in marked] == [best.data.metrics["val/gt_known_iou50"]]
    assert parent.info.status == "FAILED"
    assert not list((state / "workspaces").iterdir())
