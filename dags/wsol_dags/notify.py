"""Tells people how a run ended: by mail, to a webhook, or both, as far as Airflow has been told where.

* Connection ``wsol_smtp`` (type smtp, sender in the extra ``from_email``) and variable ``wsol_mail_to`` (addresses with
  commas between them): a mail.
* Connection ``wsol_webhook`` (type http; its host is the whole address, its password, where there is one, the bearer
  token): a POST of JSON with a ``text``, as chat programs take it, and the facts.
* Variable ``wsol_mlflow_url``: where people open MLflow, if not at ``MLFLOW_TRACKING_URI``.

Without these nothing is sent. A message that cannot be delivered is a line in the log, never a failed run.
"""

import json
import logging
import os
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Literal

from airflow.providers.common.compat.sdk import conf
from airflow.providers.smtp.hooks.smtp import SmtpHook
from airflow.sdk import Connection, Variable
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

logger = logging.getLogger(__name__)

MAIL, WEBHOOK = "wsol_smtp", "wsol_webhook"
MAIL_TO, MLFLOW_URL = "wsol_mail_to", "wsol_mlflow_url"
#: Seconds that a webhook may take.
PATIENCE = 10
COLUMNS = ("metric", "champion", "challenger", "difference", "95 % interval")


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
        return Message(f"{dag_id} failed", f"{run_id}: {_failure(context)}", (), links)
    verdict = decision.get("verdict", outcome)
    table = [_row(found) for found in decision.get("comparisons", [])]
    return Message(f"{dag_id}: {verdict}", f"{run_id}: {decision.get('reason', '')}", table, links)


def _decision(context: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `promote` returned; empty where it did not come to that."""
    ti = context.get("ti")
    found = ti.xcom_pull(task_ids="promote") if ti is not None else None
    return found if isinstance(found, Mapping) else {}


def _failure(context: Mapping[str, Any]) -> str:
    states = RuntimeTaskInstance.get_task_states(dag_id=context["dag"].dag_id, run_ids=[context["run_id"]])
    failed = sorted(task for task, state in states.get(context["run_id"], {}).items() if state == "failed")
    return f"{', '.join(failed) or context.get('reason') or 'no task'} failed"


def _row(found: Mapping[str, Any]) -> tuple[str, ...]:
    champion = "–" if found["champion"] is None else f"{found['champion']:.2f}"
    difference = "–" if found["difference"] is None else f"{found['difference']:+.2f}"
    interval = "–" if found["low"] is None else f"[{found['low']:+.2f}, {found['high']:+.2f}]"
    return found["metric"], champion, f"{found['challenger']:.2f}", difference, interval


def _mlflow_url() -> str:
    url = Variable.get(MLFLOW_URL, default=None) or os.environ.get("MLFLOW_TRACKING_URI", "")
    # An address with a password in it is for programs.
    return url.rstrip("/") if url.startswith("http") and "@" not in url else ""


def send_mail(message: Message) -> None:
    """Mail a message.

    Raises:
        AirflowNotFoundException: there is no such connection.
    """
    Connection.get(MAIL)
    to = [address.strip() for address in (Variable.get(MAIL_TO, default="") or "").split(",") if address.strip()]
    if not to:
        raise ValueError(f"connection {MAIL} is there, but variable {MAIL_TO} names nobody")
    with SmtpHook(smtp_conn_id=MAIL) as hook:
        hook.send_email_smtp(to=to, subject=message.title, html_content=message.html())


def post(message: Message) -> None:
    """POST a message as JSON.

    Raises:
        AirflowNotFoundException: there is no such connection.
    """
    connection = Connection.get(WEBHOOK)
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Bearer {connection.password}"} if connection.password else {}
    body = json.dumps({"text": message.text(), **asdict(message)}).encode()
    if not (connection.host or "").startswith(("http://", "https://")):
        raise ValueError(f"the host of connection {WEBHOOK} is no whole address that starts with https://")
    with urllib.request.urlopen(urllib.request.Request(connection.host, body, headers), timeout=PATIENCE):
        pass
