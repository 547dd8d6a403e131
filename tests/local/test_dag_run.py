"""The embedded run: what is shown and filed of Airflow's lines, and whole runs of a small project."""

import json
import os
import signal
import sqlite3
import stat

import pytest

from pipeline.errors import TransientError, UserError
from pipeline.local import airflow_home
from pipeline.local.dag_run import Follower, run_pipeline
from pipeline.system.locks import exclusive_lock
from tests.processes import is_alive, wait_for_pid
from tests.tiny_project import make_project, pipeline, start_pipeline

COMMAND = "airflow.task.hooks.airflow.providers.standard.hooks.subprocess.SubprocessHook"


def line(event, logger="airflow.x", **more):
    return json.dumps({"event": event, "logger": logger} | more) + "\n"


def follow(folder, *lines):
    follower = Follower(folder)
    for text in lines:
        follower.read(text)
    return follower


RUN = (line("creating dag run", run_id="manual__1"), line("[DAG TEST] starting task_id=train map_index=-1"))


@pytest.mark.parametrize("text", ["null\n", "0\n", "[]\n", '"x"\n', "\\xff\n"])
def test_a_line_of_another_kind_does_not_end_the_run(tmp_path, text):
    assert follow(tmp_path, *RUN, text).exit_code == 0


def test_a_full_disk_costs_the_log_and_not_the_run(tmp_path, capfd):
    follower = follow(tmp_path, *RUN)
    log = tmp_path / "dag_id=wsol_retrain/run_id=manual__1/task_id=train/attempt=1.log"
    log.unlink()
    log.mkdir()
    follower.read(line("epoch 1", COMMAND))
    assert "epoch 1" in capfd.readouterr().err


def test_the_lines_of_stages_are_shown_and_nothing_else(tmp_path, capfd):
    follow(
        tmp_path,
        "no json\n",
        *RUN,
        line("Running command: ['python']", COMMAND),
        line("Running stage 'train':", COMMAND),
        line("epoch 1/2: loss 0.5 [x]", COMMAND),
        line('{"stage": "train"}', COMMAND),
        line("Updating lock file 'dvc.lock'", COMMAND),
        line("", COMMAND),
        line("Task instance state updated"),
        line("Command exited with return code 0", COMMAND),
    )
    assert capfd.readouterr().err == "── train\n   epoch 1/2: loss 0.5 [x]\n"


def test_every_try_has_its_log_where_the_page_looks_for_it(tmp_path):
    again = RUN[1]
    follow(tmp_path, *RUN, line("first", COMMAND), again, line("second", COMMAND))
    folder = tmp_path / "dag_id=wsol_retrain/run_id=manual__1/task_id=train"
    logs = {path.name: [json.loads(text)["event"] for text in path.open()] for path in folder.iterdir()}
    start = "[DAG TEST] starting task_id=train map_index=-1"
    assert logs == {"attempt=1.log": [start, "first"], "attempt=2.log": [start, "second"]}


@pytest.mark.parametrize(("codes", "expected"), [((0, 0), 0), ((0, 2, 0), 2), ((75, 75, 0), 75), ((0, -9), -9)])
def test_the_exit_code_is_that_of_the_last_command_that_failed(tmp_path, codes, expected):
    lines = (line(f"Command exited with return code {code}", COMMAND) for code in codes)
    assert follow(tmp_path, *RUN, *lines).exit_code == expected


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Airflow's home without its database: that takes seconds and is tried in whole runs."""
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(airflow_home, "_migrate", lambda marker: None)
    return tmp_path / "state/airflow"


def settings(home):
    return (home / "airflow.cfg").read_text()


def test_secrets_are_made_once_and_only_the_owner_reads_them(home, tmp_path):
    airflow_home.set_up(tmp_path)
    first, password = settings(home), (home / "passwords.json").read_text()
    airflow_home.set_up(tmp_path)
    assert (settings(home), (home / "passwords.json").read_text()) == (first, password)
    for name in ("airflow.cfg", "passwords.json"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert len(json.loads(password)["admin"]) >= 20


def test_another_checkout_changes_the_settings_but_not_the_secrets(home, tmp_path):
    airflow_home.set_up(tmp_path)
    first = settings(home)
    airflow_home.set_up(tmp_path / "other")
    assert settings(home) == first.replace(f"{tmp_path}/dags", f"{tmp_path}/other/dags")


def test_two_homes_have_different_secrets(home, tmp_path, monkeypatch):
    airflow_home.set_up(tmp_path)
    first = (home / "passwords.json").read_text()
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "another"))
    airflow_home.set_up(tmp_path)
    assert (tmp_path / "another/airflow/passwords.json").read_text() != first


def test_a_second_user_of_the_home_is_told_to_wait(home, tmp_path):
    with (
        exclusive_lock(airflow_home.lock_file("run"), "it"),
        pytest.raises(TransientError, match=rf"another `run` is at work already \(pid {os.getpid()} on"),
    ):
        run_pipeline(tmp_path)


def know_dag(home, *, paused):
    """The one table of Airflow's database that says whether the scheduler acts on a DAG."""
    with sqlite3.connect(home / "airflow.db") as connection:
        connection.execute("CREATE TABLE dag (dag_id TEXT, is_paused INTEGER)")
        connection.execute("INSERT INTO dag VALUES ('wsol_retrain', ?)", (paused,))


def test_a_scheduler_that_would_take_part_is_refused(home, tmp_path):
    airflow_home.set_up(tmp_path)
    know_dag(home, paused=False)
    pages = airflow_home.lock_file("ui")
    with exclusive_lock(pages, "the page"), pytest.raises(UserError, match="pause the DAG wsol_retrain"):
        run_pipeline(tmp_path)


@pytest.mark.parametrize("paused", [True, False])
def test_whether_the_dag_is_paused_is_read_from_the_database(home, tmp_path, paused):
    airflow_home.set_up(tmp_path)
    know_dag(home, paused=paused)
    assert airflow_home.is_paused() is paused


def database(project):
    with sqlite3.connect(project / ".wsol/airflow/airflow.db") as connection:
        tasks = connection.execute(
            "SELECT dag_run.run_id, dag_run.state, task_id, task_instance.state FROM dag_run "
            "JOIN task_instance ON dag_run.run_id = task_instance.run_id"
        ).fetchall()
    runs = {}
    for run_id, state, task, task_state in tasks:
        runs.setdefault(run_id, (state, {}))[1][task] = task_state
    return list(runs.values())


@pytest.mark.slow
def test_a_whole_run_succeeds_fails_and_stops_visibly(tmp_path, monkeypatch):
    monkeypatch.delenv("WSOL_STATE", raising=False)
    project = make_project(tmp_path / "project")
    done = pipeline(project, "run")
    # The small project scores nothing, so that the table has nothing to show.
    assert "metrics/record.json does not exist" in done.stderr, done.stderr
    assert "── train" in done.stderr
    [(state, tasks)] = database(project)
    assert state == "success"
    assert {task for task, state in tasks.items() if state == "skipped"} == {"judge", "approve"}
    assert {state for state in tasks.values() if state != "skipped"} == {"success"}
    assert "no remote configured" in done.stderr
    assert (project / "models/model.pt").read_text() == "0.0001"
    [log] = project.glob(".wsol/airflow/logs/dag_id=*/run_id=*/task_id=train/attempt=1.log")
    assert "Running stage 'train'" in log.read_text()
    assert not list(project.glob(".wsol/workspaces/*"))

    (project / "work.py").write_text((project / "work.py").read_text() + "# changed\n")
    failed = pipeline(project, "run", MODE="2")
    assert failed.returncode == 2
    assert "bring them back with" in failed.stderr
    assert str(project / ".wsol/airflow/logs/airflow.log") in failed.stderr
    state, tasks = database(project)[-1]
    assert (state, tasks["train"], tasks["track"]) == ("failed", "failed", "upstream_failed")

    pid_file = tmp_path / "pid"
    process = start_pipeline(project, "run", MODE="sleep", PID_FILE=str(pid_file))
    stage = wait_for_pid(pid_file)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert not is_alive(stage)
    state, tasks = database(project)[-1]
    assert (state, tasks["train"]) == ("failed", "failed")
