"""Each fault of a machine or a folder is found, and its line says how to mend it; nothing is written."""

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.doctor import machine, project
from pipeline.doctor.check import Check, Finding, run_checks
from pipeline.doctor.report import CHECKS
from pipeline.errors import UserError
from pipeline.local.airflow_home import lock_file
from pipeline.system.locks import STAGE_LOCK, exclusive_lock
from tests.servers import free_port, webhook_server
from tests.tiny_project import git, make_project, pipeline


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """The current folder: a committed checkout with a state folder beside it."""
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


def found(look):
    """The only line of a check; what it raises is a fault."""
    (line,) = run_checks([Check("subject", look, 60.0)])
    return line.state, line.text


def script(folder, name, text):
    """A program of that name which comes first on PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(folder) + os.pathsep + os.environ["PATH"]


def test_a_healthy_checkout_has_no_fault_and_is_left_as_it_was(checkout):
    before = {path: path.stat().st_mtime_ns for path in checkout.rglob("*") if ".dvc/tmp" not in str(path)}
    done = pipeline(checkout, "doctor", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["exit_code"] == 0
    assert {finding["subject"] for finding in answer["findings"]} >= {check.subject for check in CHECKS} - {"packages"}
    assert "✓ params     params.yaml is valid" in done.stderr
    after = {path: path.stat().st_mtime_ns for path in checkout.rglob("*") if ".dvc/tmp" not in str(path)}
    assert {path for path in before.keys() ^ after.keys() if "__pycache__" not in str(path)} == set()
    assert not (checkout.parent / "state").exists()


def test_a_fault_ends_it_with_exit_code_1_and_the_other_checks_go_on(checkout):
    params = (checkout / "params.yaml").read_text()
    (checkout / "params.yaml").write_text(params.replace("  lambda:", "  lamda:"))
    done = pipeline(checkout, "doctor")
    assert done.returncode == 1
    assert re.search(r"^✗ params .*train\.lamda: unknown key; did you mean train\.lambda\?", done.stderr, re.MULTILINE)
    assert re.search(r"^✓ Git ", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["exit_code"] == 1


def test_it_starts_where_packages_or_their_libraries_are_broken():
    code = "import sys, pipeline.doctor.report; print({'cv2', 'torch', 'pandas', 'mlflow', 'numba'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_a_check_that_hangs_is_a_warning_and_one_that_breaks_a_fault():
    def hang():
        threading.Event().wait(60)
        yield Finding("slow", "good", "")

    def refuse():
        raise UserError("mend it so")

    def crash():
        raise KeyError("x")

    checks = [Check("slow", hang, 0.2), Check("refused", refuse), Check("broken", crash)]
    slow, refused, broken = run_checks(checks)
    assert (slow.state, slow.text[:24]) == ("warning", "no answer within 0 s; tr")
    assert (refused.state, refused.text) == ("fault", "mend it so")
    assert (broken.state, broken.text) == ("fault", "KeyError: 'x'")


def test_another_python(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    assert found(machine.python) == ("fault", "3.10.4; 3.11 to 3.13 is needed: make PYTHON=python3.11 setup")


def test_a_package_that_is_missing_or_of_another_version(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("requirements.lock").write_text("dvc==1.0 \\\n    --hash=sha256:0\n")
    monkeypatch.setattr(machine, "PACKAGES", {"dvc": "DVC", "no-such-package": "it"})
    other, missing = run_checks([Check("packages", machine.packages)])
    assert other.state == "warning" and "requirements.lock has 1.0: `rm .venv/.ready` and `make setup`" in other.text
    assert missing == Finding("it", "fault", "is not installed: make setup")


def test_opencv_without_its_libraries(monkeypatch):
    def lacks(name):
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(machine.importlib, "import_module", lacks)
    state, text = found(machine.images)
    assert state == "fault" and "libGL.so.1" in text and "apt-get install libgl1" in text


def test_a_driver_that_torch_cannot_use(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("PATH", script(tmp_path / "bin", "nvidia-smi", "echo 'Some GPU, 470.1, 8 GiB'"))
    state, text = found(machine.gpu)
    assert state == "warning" and "cannot use Some GPU, 470.1, 8 GiB: update the driver" in text


@pytest.mark.parametrize(("free", "state"), [(0.5, "fault"), (2.0, "warning"), (50.0, "good")])
def test_a_full_disk(checkout, monkeypatch, free, state):
    usage = machine.shutil.disk_usage(checkout)._replace(free=int(free * 2**30))
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage)
    lines = list(machine.disk())
    assert {line.state for line in lines} == {state}
    assert all(f"{free:.1f} GiB free for " in line.text for line in lines)
    assert all(("dvc gc" in line.text) == (state != "good") for line in lines)


def test_no_git(checkout, monkeypatch):
    monkeypatch.setattr("pipeline.system.git.environment", lambda: {"PATH": "/nowhere"})
    assert found(machine.history) == ("fault", "git is not on PATH. Install it, for example `apt-get install git`.")


def test_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    state, text = found(machine.history)
    assert state == "fault" and "nothing was committed yet" in text and "`git commit`" in text


def test_a_folder_without_a_pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state, text = found(project.folder)
    assert state == "fault" and "dvc.yaml does not exist. Run commands from the root" in text


def test_an_output_that_cannot_be_written(checkout):
    (checkout / "boxes").write_text("")
    state, text = found(project.folder)
    assert state == "fault" and "boxes is a file where a folder is needed" in text


def test_a_data_set_that_is_missing(checkout):
    (checkout / "params.yaml").write_text((checkout / "params.yaml").read_text().replace("data/synthetic", "data/none"))
    state, text = found(project.data)
    assert state == "fault" and "data/none does not exist. Set it in params.yaml" in text


def test_files_that_this_user_may_not_read(checkout, monkeypatch):
    monkeypatch.setattr(project.os, "access", lambda path, mode: False)
    state, text = found(project.data)
    assert state == "fault" and "`chmod -R u+r data/synthetic`" in text


def dvc(*arguments):
    subprocess.run([sys.executable, "-m", "dvc", *arguments, "--quiet"], check=True)


def test_no_remote(checkout):
    assert found(project.remote)[1].startswith("none: results stay on this machine")


def test_a_remote_that_answers_and_one_that_does_not(checkout, tmp_path):
    dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    (checkout / "dvc.yaml").write_text("stages: {evaluate: {cmd: echo 1 > out, outs: [out]}}\n")
    dvc("repro")
    assert found(project.remote) == ("good", "store answers")
    dvc("remote", "modify", "store", "url", f"http://127.0.0.1:{free_port()}")
    state, text = found(project.remote)
    assert state == "fault" and "Connection refused" in text and "`dvc remote modify store`" in text


def test_a_tracking_server_that_is_away_or_something_else(checkout, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{free_port()}")
    state, text = found(project.tracking)
    assert state == "fault" and "does not answer" in text and "secret" not in text
    with webhook_server() as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{server.url}/moved")
        assert found(project.tracking)[0] == "fault"


def test_a_server_of_another_version(checkout, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow")
    monkeypatch.setattr(project, "server_version", lambda: "2.9.0")
    state, text = found(project.tracking)
    assert state == "warning" and "answers, MLflow 2.9.0, and 3." in text and "install the server's version" in text


def test_a_tracking_database_that_is_damaged(checkout, tmp_path):
    (tmp_path / "state").mkdir()
    file = tmp_path / "state/mlflow.db"
    file.write_bytes(b"not a database, and long enough to be none" * 100)
    state, text = found(project.tracking)
    assert state == "fault" and f"`mv {file} {file}.broken`" in text
    file.unlink()
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE runs (x)")
        database.execute("INSERT INTO runs VALUES (1)")
    assert found(project.tracking) == ("good", f"1 runs in {file}")


def test_a_database_of_another_airflow(checkout, tmp_path):
    (tmp_path / "state/airflow").mkdir(parents=True)
    (tmp_path / "state/airflow/migrated").write_text("2.0.0")
    state, text = found(project.airflow)
    assert state == "warning" and "is that of 2.0.0: `make run` or `make ui` brings it to" in text


@pytest.mark.parametrize(
    ("engine", "state", "said"),
    [
        ("echo 29.1", "good", "engine 29.1"),
        ("echo Cannot connect >&2; exit 1", "warning", "the engine does not answer (Cannot connect): start it"),
        ("sleep 60", "warning", "the engine does not answer within 1 s: restart it"),
    ],
)
def test_an_engine_that_does_not_answer(tmp_path, monkeypatch, engine, state, said):
    monkeypatch.setenv("PATH", script(tmp_path / "bin", "docker", f"exec {engine}" if "sleep" in engine else engine))
    monkeypatch.setattr(machine, "PATIENCE", 1.0 if "sleep" in engine else 30.0)
    got, text = found(machine.docker)
    assert (got, text[: len(said)]) == (state, said)


def test_no_docker(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert found(machine.docker)[0] == "good"


def test_a_port_of_the_pages_that_somebody_holds(checkout, monkeypatch):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        monkeypatch.setattr(machine, "PORTS", ((port, "--airflow-port"),))
        state, text = found(machine.ports)
        assert state == "warning" and f"process {os.getpid()} holds it" in text and "ui --airflow-port" in text
        with exclusive_lock(lock_file("ui"), "the pages"):
            assert found(machine.ports) == ("good", "`make ui` is at work")


def test_what_killed_processes_left(checkout):
    ended = subprocess.Popen(["true"])
    ended.wait()
    note = {"read": {"x": [{"pid": ended.pid, "cmd": "dvc repro"}]}, "write": {}}
    (checkout / ".dvc/tmp").mkdir(exist_ok=True)
    (checkout / ".dvc/tmp/rwlock").write_text(json.dumps(note))
    state, text = found(project.locks)
    assert state == "warning" and f"process {ended.pid} was killed" in text
    (checkout / ".dvc/tmp/rwlock").write_text("{")
    assert found(project.locks)[0] == "fault"
    (checkout / ".dvc/tmp/rwlock").unlink()
    (checkout / ".git/index.lock").touch()
    state, text = found(project.locks)
    assert state == "warning" and text.endswith("`rm .git/index.lock`")
    (checkout / ".git/index.lock").unlink()
    assert found(project.locks) == ("good", "none left behind")
    with exclusive_lock(STAGE_LOCK, "a stage"):
        assert Finding("locks", "good", "a stage is at work in this folder") in list(project.locks())
