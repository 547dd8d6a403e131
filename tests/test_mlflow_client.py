"""The connection to the tracking server: where it is, and what is said when it cannot be used."""

import os
import sqlite3

import pytest
from mlflow import MlflowClient

from pipeline import mlflow_client
from pipeline.errors import TransientError, UserError
from pipeline.mlflow_client import client, experiment_id, patience, shown_tracking_uri, tracking_uri


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
    monkeypatch.setattr(mlflow_client, "LIVE_PATIENCE", (0, 0))
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
