"""``track`` as a stage of DVC: the same database from the checkout and from DVC's temporary folders."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.sample_result import REPOSITORY, write_params

MAKE = """
import os
from pathlib import Path
from tests.sample_result import write_page, write_result, write_run

write_run(Path.cwd())
write_result()
write_page()
"""

DVC_YAML = """
stages:
  evaluate:
    cmd: python make.py
    params: [localize]
    outs: [data/labelled, data/prepared, images, models/model.pt, models/record.json, models/training.json,
           models/history.csv, cams, boxes, metrics/record.json,
           metrics/metrics.json, metrics/threshold_curve.csv, metrics/per_image.parquet, metrics/reliability.json,
           report]
  track:
    cmd: python -m pipeline track
    deps: [metrics/metrics.json]
    always_changed: true
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch, empty_database):
    """A small DVC project in a Git repository, its own code that of this repository."""
    folder = tmp_path / "checkout"
    (folder / ".wsol").mkdir(parents=True)
    (folder / ".wsol/mlflow.db").write_bytes(empty_database)
    (folder / "make.py").write_text(MAKE)
    (folder / "dvc.yaml").write_text(DVC_YAML)
    ignored = ("data/labelled", "data/prepared", "images", "models", "cams", "boxes", "metrics", "report")
    (folder / ".gitignore").write_text("/.wsol\n" + "".join(f"/{place}\n" for place in ignored))
    write_params(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    for name in ("WSOL_STATE", "MLFLOW_TRACKING_URI", "WSOL_AIRFLOW_RUN"):
        monkeypatch.delenv(name, raising=False)
    run("git", "init", "-q")
    run("git", "config", "user.email", "t@example.org")
    run("git", "config", "user.name", "t")
    run("dvc", "init", "-q")
    run("git", "add", "-A")
    run("git", "commit", "-qm", "first")
    return folder


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def rows(folder):
    client = MlflowClient(f"sqlite:///{folder}/.wsol/mlflow.db")
    return client.search_runs([client.get_experiment_by_name("wsol").experiment_id], order_by=["start_time ASC"])


@pytest.mark.slow
def test_repro_again_keeps_one_row_and_a_temporary_folder_adds_to_the_same_database(checkout):
    run("dvc", "repro", "-q")
    (first,) = rows(checkout)
    assert (first.data.tags["wsol.key_source"], first.data.tags["wsol.dirty"]) == ("dvc.lock", "false")
    run("dvc", "repro", "-q")
    assert len(rows(checkout)) == 1
    run("git", "add", "-A")
    run("git", "commit", "-qm", "lock")
    run("dvc", "exp", "run", "-q", "--temp", "-S", "localize.threshold=0.4")
    assert not (checkout / "mlruns").exists()
    second = next(row for row in rows(checkout) if row.info.run_id != first.info.run_id)
    assert len(rows(checkout)) == 2
    assert second.data.params["localize.threshold"] == "0.4"
    assert second.info.artifact_uri.startswith(f"file://{checkout}/.wsol/mlartifacts/")
    artifacts = MlflowClient(f"sqlite:///{checkout}/.wsol/mlflow.db").list_artifacts(second.info.run_id)
    assert [item.path for item in artifacts] == ["metrics", "provenance", "report"]
