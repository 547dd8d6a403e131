"""Fixtures that several floors share, and the order in which files are run."""

import os
from collections import Counter

# Two tests run at once, and threads that wait for each other by spinning would halve the speed of both.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from mlflow import MlflowClient

from tests.sample_result import write_page, write_params, write_result, write_run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: a long file that one process starts last is waited for by all the others."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """Content of a new tracking database, made once: MLflow takes seconds for it."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path.read_bytes()


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
