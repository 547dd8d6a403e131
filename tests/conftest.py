"""Fixtures that several floors share, and the order in which files are run."""

import os
import shutil
import subprocess
import sys
from collections import Counter

# Two tests run at once, and threads that wait for each other by spinning would halve the speed of both.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from tests.made_once import made_once
from tests.project import ROOT, SET_UP_AIRFLOW, STAGES, environment, executed, make_project, pipeline
from tests.sample_result import write_page, write_params, write_result, write_run
from tests.tiny_project import commit


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: a long file that one process starts last is waited for by all the others."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """Content of a new tracking database: MLflow takes seconds for it."""

    def make(folder):
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()

    return (made_once(tmp_path_factory, "database", make) / "mlflow.db").read_bytes()


@pytest.fixture(scope="session")
def migrated_airflow(tmp_path_factory):
    """Airflow's home with a new database and nothing else: Airflow takes seconds for it."""

    def make(folder):
        command = [sys.executable, "-c", SET_UP_AIRFLOW]
        subprocess.run(command, cwd=ROOT, env=environment(WSOL_STATE=str(folder)), check=True)
        for path in (folder / "airflow").iterdir():
            if path.name not in ("airflow.db", "migrated"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return made_once(tmp_path_factory, "airflow", make) / "airflow"


@pytest.fixture(scope="session")
def first_run(tmp_path_factory):
    """The small project after its first run, with a DVC remote beside it; tests work on copies."""

    def make(folder):
        project = make_project(folder / "project")
        subprocess.run(
            [sys.executable, "-m", "dvc", "remote", "add", "--quiet", "--default", "store", "../remote"],
            cwd=project, env=environment(), check=True,
        )  # fmt: skip
        commit(project)
        done = pipeline(project, "repro")
        assert done.returncode == 0, done.stderr
        assert executed(done) == STAGES

    return made_once(tmp_path_factory, "first_run", make) / "project"


@pytest.fixture
def state(tmp_path, monkeypatch, empty_database):
    """A state folder with an empty tracking database, in use by what the test runs."""
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_database)
    monkeypatch.setenv("WSOL_STATE", str(folder))
    for name in ("MLFLOW_TRACKING_URI", "WSOL_AIRFLOW_RUN"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def scored(tmp_path, monkeypatch, state):
    """The current folder, with a small result that has not been tracked."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_params(folder)
    write_run(folder)
    write_result()
    write_page()
    return folder
