"""What the faults of a tracking server mean: tried with MLflow's own client against servers that misbehave."""

import json
import socket
import sqlite3
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mlflow import MlflowClient

from pipeline.errors import TransientError, UserError
from pipeline.tracking.server import clear_errors, client, experiment_id, patience
from tests.servers import free_port

HTML = b"<!DOCTYPE html><html><title>Sign in</title></html>"
EXPERIMENT = {"experiment_id": "1", "name": "wsol", "lifecycle_stage": "active"}


@contextmanager
def server(status, body=b"", content_type="text/html", location=""):
    """Address of a server that always answers this."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        running.server_close()


@pytest.fixture(autouse=True)
def embedded(state):
    """Nothing of the environment's own settings or credentials."""


def track(monkeypatch, address):
    """What `track` does first; its error."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with (
        pytest.raises((UserError, TransientError)) as caught,
        clear_errors("record the run", "python -m pipeline track"),
        patience(2, 0),
    ):
        experiment_id(client(), "wsol")
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((200, HTML), id="a page"),
        pytest.param((200, b"[]", "application/json"), id="a list"),
        pytest.param((200, b"{}", "application/json"), id="an empty object"),
        pytest.param((200, b'{"status": "ok"}', "application/json"), id="an object of another service"),
        pytest.param((302, b"", "text/html", "/login"), id="redirect to itself"),
        pytest.param((303, b"", "text/html", ""), id="redirect without an address"),
        pytest.param((404, HTML), id="page not found"),
        pytest.param((404, b'{"message": "no Route matched"}', "application/json"), id="foreign not found"),
        pytest.param((401, b'{"detail": "Unauthorized"}', "application/json"), id="foreign refusal"),
        pytest.param((405, b""), id="method not allowed"),
        pytest.param((501, HTML), id="unsupported method"),
    ],
)
def test_what_is_not_mlflow_is_said_to_be_so(monkeypatch, answer):
    with server(*answer) as address:
        error = track(monkeypatch, address)
    assert isinstance(error, UserError)
    assert "what answers there is not MLflow" in str(error) and address in str(error)


def test_another_protocol_is_not_mlflow(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet():
            connection, _ = listener.accept()
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            connection.close()

        threading.Thread(target=greet, daemon=True).start()
        error = track(monkeypatch, f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert isinstance(error, UserError) and "is not MLflow" in str(error)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, b"You are not authenticated."), "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        ((403, b"Permission denied"), "Get the permission on the experiment"),
        (
            (403, json.dumps({"error_code": "PERMISSION_DENIED", "message": "no"}).encode(), "application/json"),
            "Get the permission on the experiment",
        ),
        ((403, b"Invalid Host header - possible DNS rebinding attack detected"), "MLFLOW_SERVER_ALLOWED_HOSTS"),
        ((413, b"too large"), "Raise its limit"),
        ((400, b"Client sent an HTTP request to an HTTPS server."), "one side speaks https and the other http"),
    ],
)
def test_a_refusal_names_what_to_change(monkeypatch, answer, words):
    with server(*answer) as address:
        error = track(monkeypatch, address)
    assert isinstance(error, UserError) and words in str(error)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again_later(monkeypatch, status):
    with server(status, HTML) as address:
        error = track(monkeypatch, address)
    assert isinstance(error, TransientError) and "retry later" in str(error)


def test_a_server_that_is_away_is_asked_again_later(monkeypatch):
    assert isinstance(track(monkeypatch, f"http://127.0.0.1:{free_port()}"), TransientError)


def test_https_to_a_server_of_http(monkeypatch):
    with server(200, HTML) as address:
        error = track(monkeypatch, address.replace("http", "https"))
    assert isinstance(error, UserError) and "one side speaks https" in str(error)


def test_a_missing_file_of_certificates_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "ca.pem"))
    error = track(monkeypatch, f"https://127.0.0.1:{free_port()}")
    assert isinstance(error, UserError) and "MLFLOW_TRACKING_SERVER_CERT_PATH" in str(error)


@pytest.mark.parametrize(
    ("host", "number", "kind"),
    [
        ("mlflow.example.org", socket.EAI_NONAME, UserError),
        # A container that is stopped.
        ("mlflow", socket.EAI_NONAME, TransientError),
        ("mlflow.example.org", socket.EAI_AGAIN, TransientError),
    ],
)
def test_names_that_are_not_found(monkeypatch, host, number, kind):
    texts = {socket.EAI_NONAME: "Name or service not known", socket.EAI_AGAIN: "Temporary failure in name resolution"}

    def fail(*_args, **_options):
        raise socket.gaierror(number, texts[number])

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert isinstance(track(monkeypatch, f"http://{host}:5000"), kind)


@pytest.mark.parametrize("address", ["htp://localhost:5000", "http://a b", "http://localhost:99999"])
def test_what_is_not_an_address(monkeypatch, address):
    error = track(monkeypatch, address)
    assert isinstance(error, UserError) and "Correct MLFLOW_TRACKING_URI" in str(error)


@pytest.mark.parametrize("revision", ["1b5f0d9ad7c1", "ffffffffffff"])
def test_a_database_of_another_version_is_upgraded_not_waited_for(state, monkeypatch, revision):
    with closing(sqlite3.connect(state / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    error = track(monkeypatch, "")
    assert isinstance(error, UserError) and f"`mlflow db upgrade sqlite:///{state}/mlflow.db`" in str(error)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("s3://bucket/folder", "AWS_ACCESS_KEY_ID"),
        ("gs://bucket/folder", "package"),
        ("wasbs://container@account.blob.core.windows.net/folder", "package"),
        ("sftp://127.0.0.1:9/folder", "package"),
        ("nowhere://bucket", "cannot be reached from here"),
    ],
)
def test_a_store_of_artifacts_that_cannot_be_used_says_what_is_missing(state, monkeypatch, tmp_path, location, words):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    runs = MlflowClient(f"sqlite:///{state}/mlflow.db")
    run = runs.create_run(runs.create_experiment("elsewhere", artifact_location=location))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=words), clear_errors("record the run", "python -m pipeline track"):
        runs.log_artifact(run.info.run_id, tmp_path / "file")


def test_an_error_of_this_program_stays_what_it_is():
    with pytest.raises(ZeroDivisionError), clear_errors("record the run", "python -m pipeline track"):
        1 / 0  # noqa: B018
