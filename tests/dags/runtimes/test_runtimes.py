"""The choice of a runtime, and what the two with containers make of a stage."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from wsol_dags.runtimes import runtime_of
from wsol_dags.runtimes.containers import Settings
from wsol_dags.runtimes.docker import DockerRuntime
from wsol_dags.runtimes.kubernetes import KubernetesRuntime

CHECKOUT = Path(__file__).parents[3]
STAGES = yaml.safe_load((CHECKOUT / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize(
    ("name", "kind"), [("process", "ProcessRuntime"), ("docker", "DockerRuntime"), ("kubernetes", "KubernetesRuntime")]
)
def test_the_environment_names_the_runtime(monkeypatch, name, kind):
    monkeypatch.setenv("WSOL_RUNTIME", name)
    monkeypatch.setenv("WSOL_WORK", "work")
    assert type(runtime_of(CHECKOUT)).__name__ == kind


def test_the_default_needs_no_setting(monkeypatch):
    monkeypatch.delenv("WSOL_RUNTIME", raising=False)
    assert runtime_of(CHECKOUT).checkout == CHECKOUT


def test_an_unknown_runtime_is_refused(monkeypatch):
    monkeypatch.setenv("WSOL_RUNTIME", "podman")
    with pytest.raises(ValueError, match="'podman'; it must be process, docker or kubernetes"):
        runtime_of(CHECKOUT)


def test_settings_come_from_the_environment():
    settings = Settings.from_environment(
        {
            "WSOL_IMAGE": "i:1",
            "WSOL_GPUS": "2",
            "WSOL_SHM_MIB": "64",
            "WSOL_TASK_MLFLOW_TRACKING_URI": "http://m",
            "X": "1",
        }
    )
    assert (settings.image, settings.gpus, settings.shm_size) == ("i:1", 2, 64)
    assert settings.environment == {"WSOL_STATE": "/srv/wsol/state", "MLFLOW_TRACKING_URI": "http://m"}


@pytest.mark.parametrize("runtime", [DockerRuntime, KubernetesRuntime])
@pytest.mark.parametrize(
    ("available", "needed", "pool", "slots"),
    [(2, 2, "gpu", 2), (2, 1, "gpu", 1), (0, 1, "gpu", 1), (0, 4, "gpu", 1), (2, 0, "default_pool", 1)],
)
def test_a_task_takes_a_slot_per_gpu_and_one_where_there_is_none(runtime, available, needed, pool, slots):
    settings = Settings.from_environment({"WSOL_WORK": "work", "WSOL_GPUS": str(available)})
    task = runtime(settings).command(["check"], "/f", needed, task_id="t")
    assert (task.pool, task.pool_slots) == (pool, slots)


@pytest.mark.parametrize("runtime", [DockerRuntime, KubernetesRuntime])
def test_more_gpus_than_there_are_is_an_error(runtime):
    settings = Settings.from_environment({"WSOL_WORK": "work", "WSOL_GPUS": "1"})
    with pytest.raises(ValueError, match=r"train needs 2 GPUs .* WSOL_GPUS says there are 1"):
        runtime(settings).command(["x"], "/f", 2, task_id="train")


@pytest.mark.parametrize("name", ["docker", "kubernetes"])
def test_the_dag_is_the_same_in_containers_with_the_limits_of_dvc_yaml(name):
    code = """
import json
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
bag = DagBag("dags")
assert not bag.import_errors, bag.import_errors
dag = bag.dags["wsol_retrain"]
assert "in_place" not in dag.params
assert dag.max_active_runs == bag.dags["wsol_sweep"].max_active_runs > 1
json.dumps(DagSerialization.to_dict(dag))
print(json.dumps({t.task_id: [t.retries, t.execution_timeout and t.execution_timeout.total_seconds(), t.pool,
                              type(t).__name__] for t in dag.tasks}))
"""
    variables = {"WSOL_RUNTIME": name, "WSOL_WORK": "work", "WSOL_GPUS": "1", "PYTHONPATH": "dags"}
    patient = {"AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False,
        env=os.environ | variables | patient,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tasks = yaml.safe_load(done.stdout.splitlines()[-1])
    assert set(STAGES) | {"workspace", "check", "remove_workspace"} <= set(tasks)
    for stage, entry in STAGES.items():
        meta = entry["meta"]
        pool = "gpu" if meta["gpus"] else "default_pool"
        kind = f"{name.capitalize()}CommandOperator"
        assert tasks[stage] == [meta["retries"], 60 * meta["timeout_minutes"], pool, kind], stage
