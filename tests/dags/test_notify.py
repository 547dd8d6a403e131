"""Messages: what is in them, where they go, and that nobody fails because of them."""

import smtplib
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowNotFoundException
from wsol_dags import notify
from wsol_dags.notify import RunNotifier, message_of

from tests.servers import webhook_server

DECISION = {
    "verdict": "promoted",
    "reason": "gate.m +2.00 points [+1.00, +3.00]",
    "experiment_id": "7",
    "run_id": "abc",
    "comparisons": [
        {
            "metric": "gate.m",
            "challenger": 52.0,
            "champion": 50.0,
            "difference": 2.0,
            "low": 1.0,
            "high": 3.0,
            "against": "champion",
        },
        {
            "metric": "<b>",
            "challenger": 52.0,
            "champion": None,
            "difference": None,
            "low": None,
            "high": None,
            "against": "champion",
        },
        {
            "metric": "gate.m",
            "challenger": 52.0,
            "champion": 20.0,
            "difference": 32.0,
            "low": 9.0,
            "high": 40.0,
            "against": "a centred Gaussian",
        },
    ],
}


@pytest.fixture(autouse=True)
def airflow(monkeypatch):
    """Connections and variables that a test fills; tasks by their state."""
    known = SimpleNamespace(connections={}, variables={}, states={})

    def get(name):
        if name not in known.connections:
            raise AirflowNotFoundException(name)
        return known.connections[name]

    states = SimpleNamespace(get_task_states=lambda dag_id, run_ids: {run_ids[0]: known.states})
    monkeypatch.setattr(notify, "Connection", SimpleNamespace(get=get))
    monkeypatch.setattr(
        notify, "Variable", SimpleNamespace(get=lambda k, default=None: known.variables.get(k, default))
    )
    monkeypatch.setattr(notify.task_runner, "RuntimeTaskInstance", states)
    monkeypatch.setattr(notify.task_runner, "SUPERVISOR_COMMS", None, raising=False)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow/")
    for name in ("MLFLOW_TRACKING_URI", "WSOL_MLFLOW_PAGE"):
        monkeypatch.delenv(name, raising=False)
    return known


def context(decision=DECISION):
    ti = SimpleNamespace(xcom_pull=lambda task_ids: decision if task_ids == "promote" else None)
    return {"dag": DAG("wsol_retrain", schedule=None), "run_id": "manual__1", "ti": ti, "reason": "task_failure"}


def test_a_success_has_the_verdict_the_differences_and_both_links(airflow):
    airflow.variables["wsol_mlflow_url"] = "http://mlflow/"
    message = message_of(context(), "succeeded")
    assert message.title == "wsol_retrain: promoted"
    assert message.table == [
        ("gate.m", "50.00", "52.00", "+2.00", "[+1.00, +3.00]"),
        ("<b>", "–", "52.00", "–", "–"),
        ("gate.m against a centred Gaussian", "20.00", "52.00", "+32.00", "[+9.00, +40.00]"),
    ]
    assert message.links == {
        "run in Airflow": "http://airflow/dags/wsol_retrain/runs/manual__1",
        "result in MLflow": "http://mlflow/#/experiments/7/runs/abc",
    }
    assert f"{'gate.m':<33}  50.00    52.00       +2.00       [+1.00, +3.00]" in message.text()
    assert "<td>&lt;b&gt;</td>" in message.html()


def test_a_failure_names_the_tasks(airflow):
    airflow.states = {"prepare": "success", "train": "failed", "publish": "upstream_failed", "completed": "failed"}
    message = message_of(context(None), "failed")
    assert (message.title, message.reason) == ("wsol_retrain failed", "manual__1: train failed")
    assert list(message.links) == ["run in Airflow"]


@pytest.mark.parametrize(
    ("train", "told"), [("failed", "marked by hand during train"), ("success", "marked by hand between two tasks")]
)
def test_a_cancelled_run_is_told_from_one_that_failed_by_itself(airflow, train, told):
    airflow.states = {"train": train, "track": "skipped", "publish": "skipped", "completed": "failed"}
    message = message_of(context(None), "failed")
    assert (message.title, message.reason) == ("wsol_retrain cancelled", f"manual__1: {told}")


def test_the_page_that_was_started_with_airflow_is_the_last_known_address_of_mlflow(airflow, monkeypatch):
    def link():
        return message_of(context(), "succeeded").links["result in MLflow"].partition("/#/")[0]

    monkeypatch.setenv("WSOL_MLFLOW_PAGE", "http://127.0.0.1:5000")
    assert link() == "http://127.0.0.1:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert link() == "http://server"
    airflow.variables["wsol_mlflow_url"] = "http://people"
    assert link() == "http://people"


def test_a_tracking_address_with_a_password_is_no_link(airflow, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@mlflow")
    assert "secret" not in message_of(context(), "succeeded").text()


@pytest.fixture
def hook():
    with webhook_server() as server:
        yield server


def webhook(host, password=None):
    return {"wsol_webhook": SimpleNamespace(host=host, password=password)}


def test_a_webhook_gets_text_and_facts(airflow, hook):
    airflow.connections = webhook(f"{hook.url}/hook", "token")
    RunNotifier("succeeded")(context())
    ((path, authorization, body),) = hook.received
    assert (path, authorization) == ("/hook", "Bearer token")
    assert body["text"].startswith("wsol_retrain: promoted\n")
    assert body["links"]["run in Airflow"].endswith("manual__1")


def test_a_mail_goes_to_everybody_named(airflow, monkeypatch):
    sent = []

    class Hook:
        def __init__(self, smtp_conn_id):
            assert smtp_conn_id == "wsol_smtp"

        def __enter__(self):
            return SimpleNamespace(send_email_smtp=lambda **mail: sent.append(mail))

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(notify, "SmtpHook", Hook)
    airflow.connections = {"wsol_smtp": SimpleNamespace()}
    airflow.variables = {"wsol_mail_to": "a@example.org, b@example.org"}
    RunNotifier("failed")(context(None))
    (mail,) = sent
    assert mail["to"] == ["a@example.org", "b@example.org"]
    assert mail["subject"] == "wsol_retrain failed"


def test_without_an_address_nothing_is_sent_or_logged(hook, caplog):
    RunNotifier("succeeded")(context())
    assert hook.received == []
    assert caplog.text == ""


def test_where_nothing_can_be_read_nothing_is_sent_or_logged(airflow, hook, monkeypatch, caplog):
    """As with `airflow dags test`."""
    monkeypatch.delattr(notify.task_runner, "SUPERVISOR_COMMS")
    monkeypatch.setattr(notify, "message_of", lambda *_: pytest.fail("a message was made"))
    airflow.connections = webhook(f"{hook.url}/hook")
    RunNotifier("succeeded")(context())
    assert hook.received == []
    assert caplog.text == ""


def test_the_token_does_not_follow_a_redirect(airflow, hook, monkeypatch):
    lines = []
    monkeypatch.setattr(notify, "logger", SimpleNamespace(warning=lambda text, *args: lines.append(text % args)))
    airflow.connections = webhook(f"{hook.url}/moved", "token")
    RunNotifier("succeeded")(context())
    assert [path for path, *_ in hook.received] == ["/moved"]
    (line,) = lines
    assert "redirects to" in line


@pytest.mark.parametrize("host", ["http://127.0.0.1:9/hook", "example.org", None, "/error"])
def test_what_cannot_be_delivered_is_a_line_in_the_log(airflow, hook, monkeypatch, host):
    lines = []
    monkeypatch.setattr(notify, "logger", SimpleNamespace(warning=lambda text, *args: lines.append(text % args)))
    airflow.connections = webhook(f"{hook.url}/error" if host == "/error" else host)
    RunNotifier("succeeded")(context())
    (line,) = lines
    assert line.startswith("post: the message was not delivered")


def test_a_mail_server_that_is_away_does_not_keep_the_webhook_from_it(airflow, hook, monkeypatch):
    def refuse(smtp_conn_id):
        raise smtplib.SMTPConnectError(421, "away")

    monkeypatch.setattr(notify, "SmtpHook", refuse)
    airflow.connections = webhook(f"{hook.url}/hook") | {"wsol_smtp": SimpleNamespace()}
    airflow.variables = {"wsol_mail_to": "a@example.org"}
    RunNotifier("succeeded")(context())
    assert len(hook.received) == 1
