"""Sweeps of real runs: stopped, killed, gone on with; what is trained once; and the same by DVC's own queue."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from mlflow import MlflowClient

from tests.project import environment, executed, make_project
from tests.tiny_project import commit

pytestmark = pytest.mark.slow

SWEEP = """\
name: small
method: grid
base: long.yaml
space:
  localize.threshold: [auto, 0.3]
  train.lambda: [0.0, 0.5]
"""


def start(folder: Path) -> subprocess.Popen[str]:
    """Start the sweep; returns once its first training has a checkpoint."""
    before = {path: path.stat().st_mtime_ns for path in folder.glob(".wsol/checkpoints/*.pt")}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "sweep", "sweep.yaml"],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while {path: path.stat().st_mtime_ns for path in folder.glob(".wsol/checkpoints/*.pt")} == before:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def sweep(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The sweep to its end: four runs take longer than a single command may."""
    command = [sys.executable, "-m", "pipeline", "sweep", "sweep.yaml", *options]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=3600)


def rows(folder: Path):
    client = MlflowClient(f"sqlite:///{folder / '.wsol/mlflow.db'}")
    return client.search_runs([e.experiment_id for e in client.search_experiments()])


def test_a_sweep_survives_a_signal_and_a_kill_and_trains_each_model_once(tmp_path, empty_database):
    project = make_project(tmp_path / "project", {"train.epochs": 15})
    (project / ".wsol").mkdir()
    (project / ".wsol/mlflow.db").write_bytes(empty_database)
    (project / "params.yaml").rename(project / "long.yaml")
    (project / "params.yaml").write_text((project / "long.yaml").read_text().replace("epochs: 15", "epochs: 1"))
    (project / "sweep.yaml").write_text(SWEEP)

    listed = sweep(project, "--dry-run")
    assert json.loads(listed.stdout) == {"sweep": "small", "trials": 4}
    assert not (project / ".wsol/workspaces").exists()

    stopped = start(project)
    stopped.send_signal(signal.SIGTERM)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 128 + signal.SIGTERM
    assert "Go on with: python -m pipeline sweep sweep.yaml" in said

    killed = start(project)
    for process in [*psutil.Process(killed.pid).children(recursive=True), psutil.Process(killed.pid)]:
        process.kill()
    killed.communicate(timeout=60)

    done = sweep(project)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"going on from the checkpoint after epoch \d+", done.stderr)
    assert {name: executed(done).count(name) for name in ("prepare", "train", "localize", "track")} == {
        "prepare": 0, "train": 2, "localize": 4, "track": 4,
    }  # fmt: skip
    outcome = json.loads(done.stdout)
    assert (outcome["trials"], outcome["failed"]) == (4, 0)
    table = pd.read_csv(outcome["ranking"])
    assert table["val.gt_known_iou50"].is_monotonic_decreasing
    assert sorted(zip(table["trial"], table["train.lambda"], table["localize.threshold"], strict=True)) == [
        (1, 0.0, "auto"), (2, 0.0, "0.3"), (3, 0.5, "auto"), (4, 0.5, "0.3"),
    ]  # fmt: skip
    assert outcome["best"]["trial"] == table["trial"][0]
    assert not list(project.glob(".wsol/workspaces/*"))
    assert not list(project.glob(".wsol/checkpoints/*.pt"))

    (parent,) = (row for row in rows(project) if "wsol.sweep_key" in row.data.tags)
    children = [row for row in rows(project) if row.info.run_id != parent.info.run_id]
    assert {row.data.tags["mlflow.parentRunId"] for row in children} == {parent.info.run_id}
    assert {row.info.run_id for row in children} == set(table["run_id"])
    assert {row.data.params["train.epochs"] for row in children} == {"15"}
    assert parent.data.metrics["val/gt_known_iou50"] == pytest.approx(table["val.gt_known_iou50"][0])

    again = sweep(project)
    assert json.loads(again.stdout) == outcome
    assert executed(again) == []
    assert len(rows(project)) == 5


def test_dvcs_queue_files_its_rows_in_the_same_database(first_run, tmp_path, empty_database):
    project = tmp_path / "project"
    shutil.copytree(first_run, project, symlinks=True)
    # The first run's database knows the folder of the first run.
    (project / ".wsol/mlflow.db").write_bytes(empty_database)
    commit(project)

    def dvc(*arguments: str) -> None:
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    before = (project / "params.yaml").read_text()
    dvc("exp", "run", "--queue", "-S", "extract_cams.flip=true")
    dvc("exp", "run", "--queue", "-S", "extract_cams.flip=true", "-S", "localize.threshold=0.3")
    dvc("exp", "run", "--run-all")
    found = {(row.data.params["extract_cams.flip"], row.data.params["localize.threshold"]) for row in rows(project)}
    assert found == {("True", "auto"), ("True", "0.3")}
    assert all(row.info.artifact_uri.startswith(f"file://{project}/.wsol/mlartifacts/") for row in rows(project))
    assert (project / "params.yaml").read_text() == before
