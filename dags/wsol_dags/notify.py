"""Tells people how a run ended: by mail, to a webhook, or both, as far as Airflow has been told where.

* Connection ``wsol_smtp`` (type smtp, sender in the extra ``from_email``) and variable ``wsol_mail_to`` (addresses with
  commas between them): a mail.
* Connection ``wsol_webhook`` (type http; its host is the whole address, its password, where there is one, the bearer
  token): a POST of JSON with a ``text``, as chat programs take it, and the facts.
* Variable ``wsol_mlflow_url``: where people open MLflow, if not at ``MLFLOW_TRACKING_URI`` or on the page that was
  started with Airflow's own.

Without these nothing is sent, nor by ``airflow dags test``. A message that cannot be delivered is a line in the log,
never a failed run.
"""

import json
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Literal, NoReturn

from airflow.providers.common.compat.sdk import conf
from airflow.providers.smtp.hooks.smtp import SmtpHook
from airflow.sdk import Connection, Variable
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.execution_time import task_runner

logger = logging.getLogger(__name__)

MAIL, WEBHOOK = "wsol_smtp", "wsol_webhook"
MAIL_TO, MLFLOW_URL = "wsol_mail_to", "wsol_mlflow_url"
#: The task that ends a run of ``wsol_retrain``, and the one that fails the run where that did not succeed.
LAST, WATCHER = "publish", "completed"
#: Seconds that a webhook may take.
PATIENCE = 10
COLUMNS = ("metric", "to beat", "challenger", "difference", "95 % interval")


@dataclass(frozen=True)
class Message:
    """How a run ended.

    Attributes:
        title: one line.
        reason: why it was promoted, refused, or failed.
        table: a row per compared metric, as texts in the order of :data:`COLUMNS`.
        links: addresses by what they show.
    """

    title: str
    reason: str
    table: Sequence[Sequence[str]]
    links: Mapping[str, str]

    def text(self) -> str:
        """For a chat: the table as aligned lines."""
        widths = [max(map(len, column)) for column in zip(COLUMNS, *self.table, strict=True)]
        rows = [COLUMNS, *self.table] if self.table else []
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        block = ["```", *lines, "```"] if lines else []
        return "\n".join([self.title, self.reason, *block, *(f"{name}: {url}" for name, url in self.links.items())])

    def html(self) -> str:
        """For a mail."""
        rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.table)
        head = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
        table = f'<table border="1" cellpadding="4"><tr>{head}</tr>{rows}</table>' if rows else ""
        links = "".join(f'<li><a href="{escape(url)}">{escape(name)}</a></li>' for name, url in self.links.items())
        return f"<h3>{escape(self.title)}</h3><p>{escape(self.reason)}</p>{table}<ul>{links}</ul>"


@dataclass(frozen=True)
class RunNotifier:
    """Called by Airflow when a run of a DAG has ended; sends the message wherever Airflow knows an address.

    Attributes:
        outcome: how it ended.
    """

    outcome: Literal["succeeded", "failed"]

    def __call__(self, context: Mapping[str, Any]) -> None:
        """Send the messages, one after the other."""
        # `airflow dags test` calls this outside of a task, where neither connections nor results can be read.
        if not hasattr(task_runner, "SUPERVISOR_COMMS"):
            return
        for send in (send_mail, post):
            try:
                send(message_of(context, self.outcome))
            except AirflowNotFoundException:
                continue
            except Exception as error:  # nobody's training is worth less because a mail server is away
                logger.warning("%s: the message was not delivered: %s", send.__name__, error)


def message_of(context: Mapping[str, Any], outcome: str) -> Message:
    """What is known of a run when it has ended."""
    run_id, dag_id = context["run_id"], context["dag"].dag_id
    decision = _decision(context)
    links = {"run in Airflow": f"{conf.get('api', 'base_url', fallback='').rstrip('/')}/dags/{dag_id}/runs/{run_id}"}
    if decision and (base := _mlflow_url()):
        links["result in MLflow"] = f"{base}/#/experiments/{decision['experiment_id']}/runs/{decision['run_id']}"
    if outcome == "failed":
        title, reason = _failure(context)
        return Message(f"{dag_id} {title}", f"{run_id}: {reason}", (), links)
    verdict = decision.get("verdict", outcome)
    table = [_row(found) for found in decision.get("comparisons", [])]
    return Message(f"{dag_id}: {verdict}", f"{run_id}: {decision.get('reason', '')}", table, links)


def _decision(context: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `promote` returned; empty where it did not come to that."""
    ti = context.get("ti")
    found = ti.xcom_pull(task_ids="promote") if ti is not None else None
    return found if isinstance(found, Mapping) else {}


def _failure(context: Mapping[str, Any]) -> tuple[str, str]:
    """How the run ended, and through which tasks."""
    found = task_runner.RuntimeTaskInstance.get_task_states(dag_id=context["dag"].dag_id, run_ids=[context["run_id"]])
    states = found.get(context["run_id"], {})
    failed = ", ".join(sorted(task for task, state in states.items() if state == "failed" and task != WATCHER))
    # Behind a task that failed by itself, tasks are "upstream_failed".
    if states.get(LAST) == "skipped":
        return "cancelled", f"marked by hand{f' during {failed}' if failed else ' between two tasks'}"
    return "failed", f"{failed or context.get('reason') or 'no task'} failed"


def _row(found: Mapping[str, Any]) -> tuple[str, ...]:
    champion = "–" if found["champion"] is None else f"{found['champion']:.2f}"
    difference = "–" if found["difference"] is None else f"{found['difference']:+.2f}"
    interval = "–" if found["low"] is None else f"[{found['low']:+.2f}, {found['high']:+.2f}]"
    metric = found["metric"] if found["against"] == "champion" else f"{found['metric']} against {found['against']}"
    return metric, champion, f"{found['challenger']:.2f}", difference, interval


def _mlflow_url() -> str:
    known = (Variable.get(MLFLOW_URL, default=None), *map(os.environ.get, ("MLFLOW_TRACKING_URI", "WSOL_MLFLOW_PAGE")))
    url = next(filter(None, known), "")
    # An address with a password in it is for programs.
    return url.rstrip("/") if url.startswith("http") and "@" not in url else ""


def send_mail(message: Message) -> None:
    """Mail a message.

    Raises:
        AirflowNotFoundException: there is no such connection.
        ValueError: nobody is named.
        AirflowException: the server cannot be reached.
        OSError: it refused the message.
    """
    Connection.get(MAIL)
    to = [address.strip() for address in (Variable.get(MAIL_TO, default="") or "").split(",") if address.strip()]
    if not to:
        raise ValueError(f"connection {MAIL} is there, but variable {MAIL_TO} names nobody")
    with SmtpHook(smtp_conn_id=MAIL) as hook:
        hook.send_email_smtp(to=to, subject=message.title, html_content=message.html())


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: the token would go with the request to whatever host is named."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> NoReturn:
        raise urllib.error.HTTPError(req.full_url, code, f"redirects to {newurl}: give that address", headers, fp)


def post(message: Message) -> None:
    """POST a message as JSON.

    Raises:
        AirflowNotFoundException: there is no such connection.
        ValueError: its host is no whole address.
        OSError: the address does not answer, answers with an error, or redirects.
    """
    connection = Connection.get(WEBHOOK)
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Bearer {connection.password}"} if connection.password else {}
    body = json.dumps({"text": message.text(), **asdict(message)}).encode()
    if not (connection.host or "").startswith(("http://", "https://")):
        raise ValueError(f"the host of connection {WEBHOOK} is no whole address that starts with https://")
    request = urllib.request.Request(connection.host, body, headers)
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=PATIENCE):
        pass
