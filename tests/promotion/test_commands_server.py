"""A promotion against a real MLflow server that hands artifacts on, as the stack has it: stricter than a database."""

import os
import subprocess
import sys
import time
import urllib.request

import pytest
from mlflow import MlflowClient

from pipeline.promotion.commands import promote, rollback
from tests.promotion.test_commands import aliases, tracked
from tests.servers import free_port

START_LIMIT = 300


@pytest.fixture
def server(tmp_path, monkeypatch, empty_database):
    """Its address; files go through it, none is on a path that a client could see."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (tmp_path / "server.db").write_bytes(empty_database)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        str(tmp_path / "store"),
    ]
    settings = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=settings, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + START_LIMIT
        while not answers(f"{url}/health"):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


@pytest.mark.slow
def test_a_server_takes_versions_and_aliases(scored, server):
    first, second = tracked(scored, "a", 0.4), tracked(scored, "b", 0.6)
    assert promote(first)["verdict"] == "promoted"
    assert promote(second)["verdict"] == "promoted"
    assert aliases() == {"champion": second, "previous": first, "challenger": second}
    (version,) = MlflowClient(server).search_model_versions(f"name = 'wsol' and run_id = '{second}'")
    assert version.source.startswith("mlflow-artifacts:/")
    rollback()
    assert aliases()["champion"] == first
