"""The connection to the tracking server: where it is, and what is said when it cannot be used."""

import errno
import os
import socket
import sqlite3

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.errors import TransientError, UserError
from pipeline.tracking import server
from pipeline.tracking.server import clear_errors, client, experiment_id, patience, shown_tracking_uri, tracking_uri


def test_the_default_is_a_database_in_the_state_folder(state):
    (state / "mlflow.db").unlink()
    number = experiment_id(client(), "wsol")
    assert tracking_uri() == f"sqlite:///{state}/mlflow.db"
    assert (state / "mlflow.db").is_file()
    experiment = MlflowClient(tracking_uri()).get_experiment_by_name("wsol")
    assert experiment.artifact_location == f"file://{state}/mlartifacts"
    assert experiment.experiment_id == number


def test_a_password_in_the_address_is_not_shown(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@host:5000/path")
    assert shown_tracking_uri() == "https://host:5000/path"


def test_the_patience_of_the_user_wins(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    with patience(3, 1):
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_a_database_that_cannot_be_written_is_named(state):
    (state / "mlflow.db").unlink()
    (state / "mlflow.db").mkdir()
    with pytest.raises(UserError, match=r"mlflow\.db cannot be written.*WSOL_STATE"):
        client()


def test_a_state_folder_below_a_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "file/state"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match="WSOL_STATE"):
        client()


def test_a_database_in_use_is_a_passing_fault(state, monkeypatch):
    monkeypatch.setattr(server, "LIVE_PATIENCE", (0, 0))
    other = sqlite3.connect(state / "mlflow.db")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TransientError, match="in use"):
        client()
    other.close()


def test_the_experiment_of_mlflow_itself_is_refused(state):
    with pytest.raises(UserError, match="Set another name"):
        experiment_id(client(), "Default")


def test_an_experiment_made_by_another_in_between_is_used(state, monkeypatch):
    first = experiment_id(client(), "wsol")
    asked = MlflowClient.get_experiment_by_name
    answers = iter([None])
    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", lambda self, name: next(answers, asked(self, name)))
    assert experiment_id(client(), "wsol") == first


def wrapped(error):
    """As libraries do with what they meet."""
    try:
        try:
            raise error
        except Exception as cause:
            raise MlflowException("could not log the artifact") from cause
    except MlflowException as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/file"), "/data/file: No space left on device"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/file"), "/data/file: Permission denied"),
        (OSError(errno.EROFS, "Read-only file system", "/data"), "/data: Read-only file system"),
        (wrapped(OSError(errno.EDQUOT, "Disk quota exceeded", "/data")), "/data: Disk quota exceeded"),
        (
            MlflowException("(sqlite3.OperationalError) database or disk is full"),
            r"mlflow\.db: database or disk is full",
        ),
        (
            MlflowException("(sqlite3.OperationalError) attempt to write a readonly database\n[SQL: …]"),
            "a readonly database",
        ),
    ],
)
def test_a_fault_of_this_machines_disk_is_for_the_user_to_mend(state, error, words):
    message = rf"^cannot record the run: .*{words}\. Free that place .* run `x` again"
    with pytest.raises(UserError, match=message), clear_errors("record the run", "x"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        TimeoutError(errno.ETIMEDOUT, "timed out"),
        socket.gaierror(2, "Name or service not known"),
        requests.exceptions.ConnectionError("no route"),
        wrapped(ConnectionResetError(errno.ECONNRESET, "reset")),
        MlflowException("(sqlite3.OperationalError) database is locked"),
    ],
)
def test_a_server_that_is_away_may_come_back(state, error):
    with pytest.raises(TransientError, match="does not answer"), clear_errors("record the run", "x"):
        raise error


def test_the_disk_of_a_server_is_not_this_machines(state, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    with pytest.raises(TransientError), clear_errors("record the run", "x"):
        raise MlflowException("(sqlite3.OperationalError) database or disk is full")


@pytest.mark.parametrize("name", ["a#b", "it's ü", 'a;b&c "q" '])
def test_a_database_lies_where_the_folder_is_whatever_its_name(tmp_path, monkeypatch, empty_database, name):
    folder = tmp_path / "top" / name
    folder.mkdir(parents=True)
    (folder / "mlflow.db").write_bytes(empty_database)
    monkeypatch.setenv("WSOL_STATE", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    found = client()
    run = found.create_run(experiment_id(found, "wsol"))
    found.log_text(run.info.run_id, "x", "folder/file")
    assert [item.path for item in found.list_artifacts(run.info.run_id, "folder")] == ["folder/file"]
    with sqlite3.connect(folder / "mlflow.db") as database:
        assert database.execute("SELECT run_uuid FROM runs").fetchall() == [(run.info.run_id,)]
    assert {path.name for path in (tmp_path / "top").iterdir()} == {name}
    assert [path.read_text() for path in folder.glob("mlartifacts/**/file")] == ["x"]
