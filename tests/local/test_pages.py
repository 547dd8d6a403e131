"""The pages: ports, the life of their processes, and a run triggered through Airflow's REST API."""

import json
import os
import shutil
import signal
import socket
import sys
import time
import urllib.request
from contextlib import contextmanager

import psutil
import pytest
import yaml

from pipeline.errors import UserError, WsolError
from pipeline.local import pages as dashboards
from pipeline.local.pages import Server
from pipeline.system.locks import exclusive_lock
from tests.processes import is_alive, wait_for, wait_for_pid
from tests.servers import AirflowApi, free_port, webhook_server
from tests.tiny_project import make_project, start_pipeline

#: Seconds that a run of the small project may take.
RUN_LIMIT = 300.0


@pytest.fixture
def taken_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


@pytest.mark.parametrize("option", ["--airflow-port", "--mlflow-port"])
def test_a_taken_port_is_named_with_the_option_that_changes_it(tmp_path, monkeypatch, taken_port, option):
    monkeypatch.setenv("WSOL_STATE", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ports = {"--airflow-port": free_port(), "--mlflow-port": free_port(), option: taken_port}
    advice = rf"process {os.getpid()} holds it \(.*\): stop that by `kill {os.getpid()}`, or .* with {option}"
    with pytest.raises(UserError, match=rf"port {taken_port} of 127.0.0.1 cannot be used .*{advice}"):
        dashboards.serve(tmp_path, *ports.values())
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["ui.lock"], "nothing was started"


def test_a_scheduler_that_would_take_part_in_a_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(dashboards, "load_params", lambda: None)
    monkeypatch.setattr(dashboards, "set_up", lambda _: None)
    monkeypatch.setattr(dashboards, "is_paused", lambda: False)
    with (
        exclusive_lock(dashboards.lock_file("run"), "a run"),
        pytest.raises(UserError, match="run its tasks a second time"),
    ):
        dashboards.serve(tmp_path, free_port(), free_port())


def server(name, code):
    return Server(name, [sys.executable, "-c", code], {})


def test_all_processes_and_their_children_end_with_the_block(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_STATE", str(tmp_path))
    monkeypatch.setattr(dashboards, "STOP_LIMIT", 2)
    (tmp_path / "airflow/logs").mkdir(parents=True)
    parent = (
        "import subprocess, sys, time, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal, time;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(120)'], start_new_session=True)\n"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid)); time.sleep(120)"
    )
    servers = [server("a", parent), server("b", "import time; time.sleep(120)")]
    with exclusive_lock(tmp_path / "lock", "it") as lock, dashboards._running(servers, lock) as processes:
        child = wait_for_pid(tmp_path / "child")
        keepers = [process.pid for process in processes.values()]
        pids = [*keepers, *(child.pid for pid in keepers for child in psutil.Process(pid).children())]
        assert all(is_alive(pid) for pid in [child, *pids])
    assert not any(is_alive(pid) for pid in [child, *pids])


def test_a_process_that_ends_by_itself_is_an_error_that_names_its_log(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_STATE", str(tmp_path))
    (tmp_path / "airflow/logs").mkdir(parents=True)
    with (
        pytest.raises(WsolError, match=rf"scheduler ended with exit code 3; see {tmp_path}/airflow/logs/scheduler.log"),
        exclusive_lock(tmp_path / "lock", "it") as lock,
        dashboards._running([server("scheduler", "print('why', flush=True); raise SystemExit(3)")], lock) as processes,
    ):
        dashboards._wait_until_up(["http://127.0.0.1:1/"], processes)
    assert (tmp_path / "airflow/logs/scheduler.log").read_text() == "why\n"


def listening_addresses(process):
    tree = [process, *process.children(recursive=True)]
    return {c.laddr.ip for p in tree for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN}


def arguments(process):
    """Of a process and all below it: every account of the machine sees them."""
    return "\n".join(" ".join(each.cmdline()) for each in [process, *process.children(recursive=True)])


@contextmanager
def pages(project, ended_by=signal.SIGTERM):
    """The pages of a project, as their process, their addresses and Airflow's API; ended behind the block."""
    ports = free_port(), free_port()
    process = start_pipeline(project, "ui", f"--airflow-port={ports[0]}", f"--mlflow-port={ports[1]}")
    try:
        shown = [process.stdout.readline() for _ in range(5)]
        for port, line in zip(ports, shown[1:3], strict=True):
            assert f"http://127.0.0.1:{port}" in line
        api = AirflowApi(ports[0], project / ".wsol")
        wait_for(lambda: dag_ids(api) == {"wsol_retrain", "wsol_sweep", "wsol_watch"}, "the DAGs")
        api("PATCH", "/api/v2/dags/wsol_retrain", {"is_paused": False})
        yield process, api
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(ended_by)
        process.communicate(timeout=60)
    assert process.returncode == 128 + ended_by
    assert not any(is_alive(child.pid) for child in children)


@pytest.fixture
def project(tmp_path, monkeypatch, migrated_airflow, empty_database):
    for name in ("WSOL_STATE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    project = make_project(tmp_path / "project")
    shutil.copytree(migrated_airflow, project / ".wsol/airflow")
    (project / ".wsol/mlflow.db").write_bytes(empty_database)
    return project


@pytest.fixture
def hook():
    with webhook_server() as server:
        yield server


@pytest.mark.slow
def test_a_run_triggered_on_the_page_takes_its_overrides(project):
    text = (project / "params.yaml").read_text()
    with pages(project) as (process, api):
        assert listening_addresses(psutil.Process(process.pid)) == {"127.0.0.1"}
        (password,) = json.loads((project / ".wsol/airflow/passwords.json").read_text()).values()
        assert password not in arguments(psutil.Process(process.pid))
        assert api("GET", "/api/v2/importErrors")["total_entries"] == 0
        path = trigger(api, {"train.lambda": 0.05, "localize.threshold": "0.3"})
        assert finished(api, path) == "success"
    [record] = (project / ".wsol/runs").iterdir()
    params = yaml.safe_load((record / "params.yaml").read_text())
    assert (params["train"]["lambda"], params["localize"]["threshold"]) == (0.05, 0.3)
    assert (project / "params.yaml").read_text() == text


@pytest.mark.slow
def test_a_run_cancelled_on_the_page_has_failed_and_people_are_told_so(project, hook):
    with pages(project, ended_by=signal.SIGHUP) as (_, api):
        connection = {"connection_id": "wsol_webhook", "conn_type": "http", "host": f"{hook.url}/hook"}
        api("POST", "/api/v2/connections", connection)
        path = trigger(api, {"approval": True})
        wait_for(lambda: states(api, path)["approve"] == "awaiting_input", "the question", RUN_LIMIT)
        api("PATCH", path, {"state": "failed"})
        assert finished(api, path) == "failed"
        ended = {"approve": "failed", "publish": "skipped", "completed": "failed", "remove_workspace": "success"}
        # The run has failed at once; its last tasks end after it.
        wait_for(lambda: ended.items() <= states(api, path).items(), "the end of its tasks")
        wait_for(lambda: titles(hook) == ["wsol_retrain cancelled"], "the message")


def titles(hook):
    return [message["title"] for _, _, message in hook.received]


def trigger(api, conf):
    """Address of a new run."""
    runs = "/api/v2/dags/wsol_retrain/dagRuns"
    return f"{runs}/{urllib.request.quote(api('POST', runs, {'logical_date': None, 'conf': conf})['dag_run_id'])}"


def states(api, path):
    return {task["task_id"]: task["state"] for task in api("GET", f"{path}/taskInstances")["task_instances"]}


def dag_ids(api):
    return {dag["dag_id"] for dag in api("GET", "/api/v2/dags")["dags"]}


def finished(api, path):
    deadline = time.monotonic() + RUN_LIMIT
    while (state := api("GET", path)["state"]) not in ("success", "failed"):
        assert time.monotonic() < deadline, api("GET", f"{path}/taskInstances")
        time.sleep(1)
    return state
