"""The embedded Airflow's settings and database: its own, whatever the environment says."""

import configparser
import sqlite3

import pytest

from pipeline.errors import UserError, WsolError
from pipeline.local import airflow_home


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "a b?#"))
    return tmp_path / "a b?#/airflow"


@pytest.mark.parametrize(
    "name",
    ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CORE__FERNET_KEY_CMD", "AIRFLOW_CONFIG", "AIRFLOW_CONN_X",
     "AIRFLOW_VAR_X", "_AIRFLOW_WWW_USER_CREATE"],
)  # fmt: skip
def test_another_airflow_is_left_alone(home, monkeypatch, name):
    monkeypatch.setenv(name, "postgresql://somebody@else/airflow")
    monkeypatch.setenv("AIRFLOW_HOME", "/somebody/else")
    own = airflow_home.airflow_environment()
    assert name not in own
    assert own["AIRFLOW_HOME"] == str(home)


def make_database(home, *tables):
    with sqlite3.connect(home / "airflow.db") as connection:
        for table in tables:
            connection.execute(f"CREATE TABLE {table} (x)")


def test_settings_mean_the_path_whatever_characters_it_has(home, tmp_path, monkeypatch):
    monkeypatch.setattr(airflow_home, "_migrate", lambda marker: None)
    airflow_home.set_up(tmp_path / "50%(x)s")
    cfg = configparser.ConfigParser()
    cfg.read(home / "airflow.cfg")
    assert cfg["core"]["dags_folder"] == f"{tmp_path}/50%(x)s/dags"
    assert cfg["logging"]["base_log_folder"] == f"{home}/logs"
    assert cfg["database"]["sql_alchemy_conn"] == f"sqlite:///{tmp_path}/a b%3F#/airflow/airflow.db"
    first = (home / "airflow.cfg").read_bytes()
    airflow_home.set_up(tmp_path / "50%(x)s")
    assert (home / "airflow.cfg").read_bytes() == first


@pytest.mark.parametrize("tables", [(), ("dag",), ("alembic_version",)])
def test_a_database_without_the_tables_of_airflow_is_never_marked_as_made(home, tmp_path, monkeypatch, tables):
    """As where somebody's setting sent them elsewhere."""
    monkeypatch.setattr(airflow_home, "run_kept", lambda *_, **__: make_database(home, *tables) or 0)
    with pytest.raises(WsolError, match="could not make its database"):
        airflow_home.set_up(tmp_path)
    assert not (home / "migrated").exists()


def test_a_database_that_is_gone_is_made_again(home, tmp_path, monkeypatch):
    made = []

    def migrate(*_, **__):
        made.append(make_database(home, *airflow_home.TABLES))
        return 0

    monkeypatch.setattr(airflow_home, "run_kept", migrate)
    airflow_home.set_up(tmp_path)
    airflow_home.set_up(tmp_path)
    assert len(made) == 1
    (home / "airflow.db").unlink()
    airflow_home.set_up(tmp_path)
    assert len(made) == 2


@pytest.mark.parametrize("name", ["$HOME", "a{{b", "{%c"])
@pytest.mark.parametrize("of", ["checkout", "state"])
def test_names_that_airflow_takes_for_variables_are_refused(tmp_path, monkeypatch, name, of):
    checkout, state = (tmp_path / name, tmp_path) if of == "checkout" else (tmp_path, tmp_path / name)
    monkeypatch.setenv("WSOL_STATE", str(state))
    with pytest.raises(UserError, match=r"Airflow takes .* for a variable"):
        airflow_home.check_places(checkout)


def test_a_percent_sign_is_refused_in_the_state_folder_alone(tmp_path, monkeypatch):
    """Airflow's own defaults are made from the path of its home."""
    monkeypatch.setenv("WSOL_STATE", str(tmp_path))
    airflow_home.check_places(tmp_path / "100% b")
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "100% b"))
    with pytest.raises(UserError, match=r"WSOL_STATE"):
        airflow_home.check_places(tmp_path)


def test_a_file_of_secrets_is_there_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "airflow.cfg"
    path.write_text("old")

    def fail(_):
        raise OSError("no space")

    monkeypatch.setattr(airflow_home.os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        airflow_home._write_private(path, "new")
    assert path.read_text() == "old"


def test_airflows_processes_reach_each_other_past_a_proxy(home, monkeypatch):
    monkeypatch.setenv("no_proxy", "intern.example")
    assert airflow_home.airflow_environment()["no_proxy"] == "intern.example,127.0.0.1,localhost"
