"""MLflow's accounts of the stack, made on a server that signs in as the stack's does, with a database of its own."""

import os
import signal
import subprocess
import sys
import urllib.request
from types import SimpleNamespace

import pytest

from tests.processes import wait_for
from tests.project import ROOT
from tests.servers import free_port

pytestmark = pytest.mark.slow
sys.path.insert(0, str(ROOT / "docker/mlflow"))
PASSWORD = "drawn-for-{}-0123456789"
NAMES = ("admin", "training", "promotion", "reviewer")


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    for name in NAMES:
        (folder / f"{name}_password").write_text(PASSWORD.format(name))
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory, empty_database):
    """Its address; what the image of MLflow sets is set here too."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    (folder / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\nadmin_username = admin\n"
        f"database_uri = sqlite:///{folder}/auth.db\nadmin_password = {PASSWORD.format('admin')}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\nauth_cache_ttl_seconds = 60\n"
    )
    (folder / "mlflow.db").write_bytes(empty_database)
    settings = (line.split("ENV ")[-1].strip(" \\\n") for line in (ROOT / "docker/mlflow/Dockerfile").open())
    image = dict(text.split("=", 1) for text in settings if text.startswith("MLFLOW_"))
    variables = image | {
        "MLFLOW_AUTH_CONFIG_PATH": f"{folder}/auth.ini", "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "x",
    }  # fmt: skip
    command = [
        "mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--serve-artifacts", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=os.environ | variables, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"

    def answers():
        try:
            return urllib.request.urlopen(f"{address}/health", timeout=5).status == 200
        except OSError:
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            return False

    try:
        wait_for(answers, "MLflow", 180)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def sign_in(server, secrets):
    """Become one of the accounts; returns MLflow's client."""
    import make_accounts
    from mlflow import MlflowClient
    from mlflow.server import get_app_client

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")

        def become(name):
            patch.setenv("MLFLOW_TRACKING_USERNAME", name)
            patch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD.format(name))
            return MlflowClient(server)

        become("admin")
        make_accounts.make_accounts(get_app_client("basic-auth", tracking_uri=server), secrets)
        yield become


@pytest.fixture(scope="module")
def made(sign_in, server):
    """A run that the training role made with its model, and the model that the promotion role made of it.

    Its ``accounts`` are the client of who has signed in.
    """
    from mlflow.server import get_app_client

    training = sign_in("training")
    run = training.create_run(training.create_experiment("wsol"))
    training.log_text(run.info.run_id, "weights", "model/model.pt")
    promotion = sign_in("promotion")
    promotion.create_registered_model("wsol")
    promotion.create_model_version("wsol", f"{run.info.artifact_uri}/model", run.info.run_id)
    promotion.set_registered_model_alias("wsol", "champion", "1")
    return SimpleNamespace(
        run=run.info.run_id, experiment=run.info.experiment_id, source=run.info.artifact_uri,
        accounts=get_app_client("basic-auth", tracking_uri=server),
    )  # fmt: skip


def allowed(call):
    from mlflow import MlflowException

    try:
        call()
    except (MlflowException, OSError) as error:
        assert "403" in str(error), error
        return False
    return True


#: What each may do: a call of its client, with what was made. Order matters: what one line makes the next one removes.
DEEDS = {
    "read the run": lambda c, m: c.get_run(m.run),
    "read its artifact": lambda c, m: c.download_artifacts(m.run, "model/model.pt"),
    "find the runs": lambda c, m: c.search_runs([m.experiment])[0],
    "find the champion": lambda c, m: c.search_registered_models("name = 'wsol'")[0].aliases["champion"],
    "log a metric": lambda c, m: c.log_metric(m.run, "iou", 1.0),
    "mark the run": lambda c, m: c.set_tag(m.run, "verdict", "better"),
    "keep a file": lambda c, m: c.log_text(m.run, "{}", "decision.json"),
    "make a run": lambda c, m: c.delete_run(c.create_run(m.experiment).info.run_id),
    "arrange the table": lambda c, m: c.set_experiment_tag(m.experiment, "view", "x"),
    "make an experiment": lambda c, m: c.create_experiment(os.environ["MLFLOW_TRACKING_USERNAME"]),
    "make a model": lambda c, m: c.create_registered_model(os.environ["MLFLOW_TRACKING_USERNAME"]),
    "register a version": lambda c, m: c.create_model_version("wsol", f"{m.source}/model", m.run),
    "mark a version": lambda c, m: c.set_model_version_tag("wsol", "1", "look", "1"),
    "say which is champion": lambda c, m: c.set_registered_model_alias("wsol", "champion", "1"),
    "take it back": lambda c, m: c.delete_registered_model_alias("wsol", "challenger"),
    "make an account": lambda c, m: m.accounts.create_user("mallory", "mallory-mallory"),
    "become administrator": lambda c, m: m.accounts.update_user_admin(os.environ["MLFLOW_TRACKING_USERNAME"], True),
    "take another's account": lambda c, m: m.accounts.update_user_password("admin", "mallory-mallory"),
    "widen its role": lambda c, m: m.accounts.add_role_permission(1, "registered_model", "*", "MANAGE"),
}  # fmt: skip
READING = {"read the run", "read its artifact", "find the runs"}
MAY = {
    "training": READING | {"log a metric", "mark the run", "keep a file", "make a run", "arrange the table",
                           "make an experiment"},
    "promotion": READING | {"find the champion", "log a metric", "mark the run", "keep a file", "make an experiment",
                            "make a model", "register a version", "mark a version", "say which is champion",
                            "take it back"},
    "reviewer": READING | {"find the champion"},
}  # fmt: skip


@pytest.mark.parametrize("role", MAY)
def test_each_role_may_do_its_own_and_no_more(sign_in, made, role):
    sign_in("promotion").set_registered_model_alias("wsol", "challenger", "1")
    client = sign_in(role)
    done = {name for name, deed in DEEDS.items() if _works(name, deed, client, made)}
    assert done == MAY[role]


def _works(name, deed, client, made):
    try:
        return allowed(lambda: deed(client, made))
    except (IndexError, KeyError):
        return False  # what may not be seen is not found


def test_a_second_start_changes_nothing_but_what_differs(sign_in, made, secrets):
    import make_accounts

    sign_in("admin")
    accounts = made.accounts
    (role,) = [role for role in accounts.list_roles("default") if role.name == "reviewer"]
    before = accounts.list_role_permissions(role.id)
    accounts.add_role_permission(role.id, "run", "*", "EDIT")
    accounts.remove_role_permission(before[0].id)
    accounts.update_user_password("reviewer", "another-password")
    make_accounts.make_accounts(accounts, secrets)
    after = {(p.resource_type, p.resource_pattern, p.permission) for p in accounts.list_role_permissions(role.id)}
    assert after == {("experiment", "*", "READ"), ("registered_model", "*", "READ")}
    assert [role.name for role in accounts.list_user_roles("reviewer")] == ["reviewer"]
    assert sign_in("reviewer").get_run(made.run)
