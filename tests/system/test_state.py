"""One state folder for a checkout and all its workspaces."""

from pathlib import Path

from sqlalchemy import make_url

from pipeline.system.state import database_uri, shown_uri, state_folder


def test_checkout_default(tmp_path, monkeypatch):
    monkeypatch.delenv("WSOL_STATE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert state_folder() == tmp_path.resolve() / ".wsol"


def test_environment_wins_and_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WSOL_STATE", "elsewhere")
    assert state_folder() == tmp_path / "elsewhere"


def test_a_link_in_a_workspace_leads_to_the_checkouts(tmp_path, monkeypatch):
    monkeypatch.delenv("WSOL_STATE", raising=False)
    (tmp_path / "main/.wsol").mkdir(parents=True)
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace/.wsol").symlink_to(tmp_path / "main/.wsol")
    monkeypatch.chdir(tmp_path / "workspace")
    assert state_folder() == tmp_path.resolve() / "main/.wsol"


def test_a_temporary_experiment_of_dvc_belongs_to_its_checkout(tmp_path, monkeypatch):
    monkeypatch.delenv("WSOL_STATE", raising=False)
    folder = tmp_path / "main/.dvc/tmp/exps/tmpab12"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert state_folder() == tmp_path.resolve() / "main/.wsol"


def test_an_address_is_shown_without_its_password():
    assert shown_uri("http://user:s3cret@host:5000/x") == "http://host:5000/x"
    assert shown_uri("sqlite:////home/me@work/mlflow.db") == "sqlite:////home/me@work/mlflow.db"
    assert shown_uri("no answer from https://u:p@h/") == "no answer from https://h/"


def test_the_address_of_a_database_means_its_path():
    for path in ("/plain/x.db", "/100% b/%41?#/ü it's/x.db"):
        assert make_url(database_uri(Path(path))).database == path
    assert database_uri(Path("/plain/x.db")) == "sqlite:////plain/x.db"
