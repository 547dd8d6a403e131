"""The MLflow page of this machine, on its real server: who is let in, and which files can be reached through it."""

import base64
import json
import urllib.error
import urllib.request
import uuid
from types import SimpleNamespace

import pytest

from pipeline.local import mlflow_home, pages
from pipeline.local.airflow_home import airflow_home, password_file
from pipeline.system.locks import exclusive_lock
from pipeline.tracking.server import client, experiment_id
from tests.servers import free_port

PASSWORD = "of-this-test"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory, empty_database):
    """The page of a state folder; its files lie beside ``outside``, which nobody shall reach."""
    folder = tmp_path_factory.mktemp("page")
    state, outside = folder / "state", folder / "outside"
    (state / "airflow/logs").mkdir(parents=True)
    (state / "mlflow.db").write_bytes(empty_database)
    outside.mkdir()
    (outside / "secret").write_text("secret")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSOL_STATE", str(state))
        patch.setenv("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "true")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        password_file().write_text(json.dumps({"admin": PASSWORD}))
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with (
            exclusive_lock(folder / "lock", "it") as lock,
            pages._running([pages._mlflow(port)], lock) as processes,
        ):
            pages._wait_until_up([f"{url}/health"], processes)
            yield SimpleNamespace(url=url, state=state, outside=outside)


def ask(page, method, path, body=None, password=PASSWORD, **headers):
    """Status and body of an answer; without a password nobody signs in."""
    if password:
        headers["Authorization"] = "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()
    headers["Content-Type"] = "application/json"
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(page.url + path, data, headers, method=method)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def new_run(page, location):
    """Id of a run of a new experiment whose artifacts are to lie there, made through the server."""
    experiment = {"name": uuid.uuid4().hex, "artifact_location": location}
    status, answer = ask(page, "POST", "/api/2.0/mlflow/experiments/create", experiment)
    assert status == 200, answer
    status, answer = ask(page, "POST", "/api/2.0/mlflow/runs/create", json.loads(answer))
    assert status == 200, answer
    return json.loads(answer)["run"]["info"]["run_id"]


@pytest.mark.parametrize("password", ["", "wrong"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/version"),
        ("GET", "/ajax-api/2.0/mlflow/experiments/search?max_results=1"),
        ("POST", "/api/2.0/mlflow/experiments/create"),
        ("GET", "/get-artifact?run_id=a&path=b"),
        ("POST", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=a&path=b"),
        ("POST", "/graphql"),
        ("GET", "/ajax-api/3.0/mlflow/assistant/config"),
        ("GET", "/openapi.json"),
        ("GET", "/signup"),
    ],
)
def test_nothing_is_shown_or_done_without_the_password(page, method, path, password):
    assert ask(page, method, path, b"{}" if method == "POST" else None, password)[0] == 401


def test_a_foreign_page_in_the_browser_of_the_user_is_refused(page):
    body = {"name": "made by a foreign page"}
    origin = {"Origin": "https://example.org"}
    assert ask(page, "POST", "/api/2.0/mlflow/experiments/create", body, **origin)[0] == 403


def locations(page):
    folder = page.state / "mlartifacts"
    folder.mkdir(exist_ok=True)
    link = folder / "link"
    if not link.is_symlink():
        link.symlink_to(page.outside)
    return {
        "address": page.outside.as_uri(),
        "path": str(page.outside),
        "local host": f"file://localhost{page.outside}",
        "climbing": f"{folder.as_uri()}/../../outside",
        "link": link.as_uri(),
        "secrets of the state folder": (page.state / "airflow").as_uri(),
    }


@pytest.mark.parametrize("kind", ["address", "path", "local host", "climbing", "link", "secrets of the state folder"])
def test_files_outside_the_artifacts_are_not_reached_by_the_location_of_a_run(page, kind):
    before = sorted((path, path.stat().st_mtime_ns) for path in page.outside.rglob("*"))
    run = new_run(page, locations(page)[kind])
    requests = [
        ("GET", f"/ajax-api/2.0/mlflow/artifacts/list?run_id={run}", None),
        ("GET", f"/get-artifact?run_id={run}&path=secret", None),
        ("POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=secret", b"overwritten"),
    ]
    answers = [ask(page, *request) for request in requests]
    assert [status for status, _ in answers] == [403] * 3
    assert all(b"This page shows files below" in text for _, text in answers)
    assert sorted((path, path.stat().st_mtime_ns) for path in page.outside.rglob("*")) == before


@pytest.mark.parametrize("path", ["folder/secret", "file"])
def test_files_outside_the_artifacts_are_not_reached_by_a_link_among_those_of_a_run(page, path):
    run = new_run(page, (page.state / "mlartifacts").as_uri())
    artifacts = page.state / "mlartifacts" / run / "artifacts"
    artifacts.mkdir(parents=True)
    (artifacts / "folder").symlink_to(page.outside)
    (artifacts / "file").symlink_to(page.outside / "secret")
    status, text = ask(page, "GET", f"/get-artifact?run_id={run}&path={path}")
    assert status == 400 and b"secret" not in text
    ask(page, "POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path={path}", b"overwritten")
    assert (page.outside / "secret").read_text() == "secret"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_there_is_no_second_way_to_files(page, method):
    answer = ask(page, method, "/api/2.0/mlflow-artifacts/artifacts/a", b"x" if method == "PUT" else None)
    assert answer[0] == 503
    assert not (page.state / "mlartifacts/a").exists()


def test_what_a_run_wrote_without_a_server_is_shown(page, tmp_path):
    (tmp_path / "index.html").write_text("<p>report</p>")
    runs = client()
    run = runs.create_run(experiment_id(runs, "wsol")).info.run_id
    runs.log_artifact(run, tmp_path / "index.html", "report")
    assert ask(page, "GET", f"/get-artifact?run_id={run}&path=report/index.html") == (200, b"<p>report</p>")


def test_what_the_page_adds_lies_with_the_artifacts(page):
    run = new_run(page, "")
    assert ask(page, "POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=a.txt", b"text")[0] == 200
    [written] = (page.state / "mlartifacts").rglob(f"{run}/artifacts/a.txt")
    assert written.read_text() == "text"


def test_settings_of_the_sign_in_are_private(page):
    assert (page.state / "mlflow").stat().st_mode & 0o077 == 0
    assert PASSWORD not in (page.state / "mlflow/sign_in.ini").read_text()


def test_the_users_are_those_of_the_password_file_at_each_start(state):
    (state / "mlflow").mkdir()
    (state / "mlflow/users.db").write_text("with an old password")
    airflow_home().mkdir()
    password_file().write_text(json.dumps({"admin": "new"}))
    mlflow_home.set_up()
    assert not (state / "mlflow/users.db").exists()
    assert mlflow_home.server_environment()["MLFLOW_AUTH_ADMIN_PASSWORD"] == "new"
