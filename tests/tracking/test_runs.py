"""Streaming a training: one run per training, whatever happens to it or to the server."""

import math
import multiprocessing
import os
import socket
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

from pipeline.errors import TransientError
from pipeline.tracking import server
from pipeline.tracking.runs import live_run, open_row
from pipeline.tracking.server import tracking_uri
from tests.sample_result import REPOSITORY


def runs(experiment="wsol"):
    client = MlflowClient(tracking_uri())
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id], order_by=["start_time ASC"])


def history(run_id, name):
    return [(m.step, m.value) for m in MlflowClient(tracking_uri()).get_metric_history(run_id, name)]


def test_a_training_streams_to_one_run(state):
    with live_run("wsol", "a") as live:
        live.log({"loss": 2.0, "val_loss": math.nan, "epoch": 1.0}, 1)
        assert runs()[0].info.status == "RUNNING"
        live.log({"loss": 1.0, "val_loss": 3.0, "epoch": 2.0}, 2)
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.data.tags["wsol.train_key"] == "a"
    assert run.data.params == {}
    assert history(run.info.run_id, "train/loss") == [(1, 2.0), (2, 1.0)]
    assert history(run.info.run_id, "train/val_loss") == [(2, 3.0)]
    assert set(run.data.metrics) == {"train/loss", "train/val_loss"}


def test_who_has_no_account_asks_no_server(monkeypatch, capsys):
    monkeypatch.setenv("WSOL_TRACKING", "off")
    monkeypatch.setattr(server, "client", lambda: pytest.fail("asked"))
    with live_run("wsol", "a") as live:
        live.log({"loss": 2.0}, 1)
    assert "`track` logs them" in capsys.readouterr().err


def test_a_killed_training_goes_on_in_its_run_without_repeating_points(state):
    killed = live_run("wsol", "a")
    killed.log({"loss": 2.0}, 1)
    killed.log({"loss": 1.0}, 2)
    with live_run("wsol", "a") as live:
        live.log({"loss": 1.0}, 2)
        live.log({"loss": 0.5}, 3)
    (run,) = runs()
    assert history(run.info.run_id, "train/loss") == [(1, 2.0), (2, 1.0), (3, 0.5)]


STREAM = """\
import sys
from pipeline.system.locks import exclusive_lock
from pipeline.system.state import training_lock
from pipeline.tracking.runs import live_run
with exclusive_lock(training_lock("a"), "it"), live_run("wsol", "a") as live:
    live.log({"loss": 2.0}, 1)
    print("streams", flush=True)
    sys.stdin.readline()
    live.log({"loss": 1.0}, 2)
"""


@pytest.fixture
def training(state):
    """Start a process that trains the same, streams, and goes on when a line is written to it."""
    started = []

    def start(folder=state):
        process = subprocess.Popen(
            [sys.executable, "-c", STREAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"WSOL_STATE": str(folder), "MLFLOW_TRACKING_URI": tracking_uri()}, cwd=REPOSITORY,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "streams\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_run_of_a_training_at_work_is_neither_adopted_nor_deleted(training, state, tmp_path, elsewhere):
    with open_row("wsol", "result", "a") as row:
        first = row.run_id
    process = training(tmp_path / "other" if elsewhere else state)
    (streaming,) = (run.info.run_id for run in runs() if run.info.run_id != first)
    for result in ("result", "another"):
        with open_row("wsol", result, "a") as row:
            assert row.run_id != streaming
    if elsewhere:
        with live_run("wsol", "a"):
            pass
    process.communicate("\n")
    assert process.returncode == 0
    assert history(streaming, "train/loss") == [(1, 2.0), (2, 1.0)]
    assert MlflowClient(tracking_uri()).get_run(streaming).info.lifecycle_stage == "active"


def test_the_run_of_a_killed_training_is_adopted(training, state):
    process = training()
    process.kill()
    process.wait()
    with open_row("wsol", "result", "a"):
        pass
    (run,) = runs()
    assert run.info.status == "FINISHED"


def test_another_training_has_another_run(state):
    live_run("wsol", "a")
    live_run("wsol", "b")
    assert [run.data.tags["wsol.train_key"] for run in runs()] == ["a", "b"]


def test_a_tracked_training_trained_again_streams_to_a_new_run(state):
    with open_row("wsol", "result", "a"):
        pass
    live_run("wsol", "a")
    assert len(runs()) == 2


def test_a_failed_training_is_shown_as_failed_and_goes_on_later(state):
    with pytest.raises(ZeroDivisionError), live_run("wsol", "a"):
        raise ZeroDivisionError
    assert runs()[0].info.status == "FAILED"
    with live_run("wsol", "a"):
        assert runs()[0].info.status == "RUNNING"
    assert len(runs()) == 1


@pytest.fixture(params=["refused", "silent"])
def dead_server(request):
    """The address of a port where nobody listens, or where nobody answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "silent":
            listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_training_goes_on_without_a_server(dead_server, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead_server)
    monkeypatch.setattr(server, "LIVE_PATIENCE", (1, 0))
    with live_run("wsol", "a") as live:
        live.log({"loss": 1.0}, 1)
        live.log({"loss": 1.0}, 2)
    printed = capsys.readouterr().err
    assert printed.count("warning") == 1
    assert dead_server in printed


def test_training_goes_on_when_the_server_fails_in_between(state, monkeypatch, capsys):
    live = live_run("wsol", "a")
    live.log({"loss": 2.0}, 1)
    monkeypatch.setattr(MlflowClient, "log_batch", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("gone")))
    live.log({"loss": 1.0}, 2)
    monkeypatch.undo()
    live.log({"loss": 0.5}, 3)
    live.close()
    assert capsys.readouterr().err.count("gone") == 1


def test_training_goes_on_without_mlflow(state, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with live_run("wsol", "a") as live:
        live.log({"loss": 1.0}, 1)
    assert "mlflow cannot be imported" in capsys.readouterr().err


def test_importing_the_module_needs_no_mlflow():
    check = "import sys; sys.modules['mlflow'] = None; import pipeline.tracking.runs"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=REPOSITORY)


def test_tracking_without_a_server_says_retry_later(dead_server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead_server)
    monkeypatch.setattr(server, "PROBE_PATIENCE", (1, 0))
    with pytest.raises(TransientError, match="retry later"), open_row("wsol", "result", "a"):
        pass


def _track(key):
    with open_row("wsol", key, key):
        time.sleep(0.1)


def test_two_at_once_make_one_database_and_experiment_with_two_rows(state):
    (state / "mlflow.db").unlink()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_track, args=(key,)) for key in ("a", "b")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert sorted(run.data.tags["wsol.run_key"] for run in runs()) == ["a", "b"]
    assert {run.info.status for run in runs()} == {"FINISHED"}
