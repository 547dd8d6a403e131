"""Where a stage runs. ``process``: its command, in the environment Airflow itself runs in."""

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import TimeoutExpired
from tempfile import TemporaryDirectory
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import BaseOperator, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from wsol_dags.form import overrides

#: Exit code of a fault that may pass; every other failure is not tried again.
TRANSIENT = 75
#: Names the Airflow run for whatever a stage records.
AIRFLOW_RUN = "WSOL_AIRFLOW_RUN"
#: Names the file in which a command leaves its exit code and error message.
OUTCOME_FILE = "WSOL_OUTCOME_FILE"
#: Seconds a cancelled command has to end by itself: Airflow kills the task, but not its children, after 5 s.
GRACE = 4.5


class CommandOperator(BaseOperator):
    """Runs ``python -m pipeline …`` in a folder and returns the JSON object of its last line.

    Args:
        arguments: of the command.
        folder: where it runs, absolute.

    Raises:
        AirflowException: the command ended with 75; Airflow tries again.
        AirflowFailException: it ended with another code but 0; trying again would not help.
    """

    template_fields: Sequence[str] = ("arguments", "folder")

    def __init__(self, *, arguments: Sequence[str], folder: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.arguments = list(arguments)
        self.folder = folder
        self._hook = SubprocessHook()

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Run the command; its lines become the task's log as they come."""
        return self._run(self.arguments, context["run_id"])

    def on_kill(self) -> None:
        """End the command with all it started, before Airflow ends this task."""
        process = self._hook.sub_process
        if process is None or process.poll() is not None:
            return
        self._hook.send_sigterm()
        try:
            process.wait(GRACE)
        except TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)

    def _run(self, arguments: Sequence[str], run_id: str) -> dict[str, Any]:
        with TemporaryDirectory() as folder:
            outcome = Path(folder) / "outcome.json"
            result = self._hook.run_command(
                [sys.executable, "-u", "-m", "pipeline", *arguments],
                env=dict(os.environ) | {AIRFLOW_RUN: run_id, OUTCOME_FILE: str(outcome)},
                cwd=self.folder,
            )
            if result.exit_code == 0:
                return _json_object(result.output)
            reported = _json_object(outcome.read_text()) if outcome.exists() else {}
        raise _failure(arguments[-1], result.exit_code, reported.get("message") or result.output)


class WorkspaceOperator(CommandOperator):
    """Makes the run's workspace, or takes the checkout itself; returns its folder as ``{"workspace": …}``.

    Args:
        form: the fields of the trigger form; values that differ from their defaults are the run's overrides.
    """

    def __init__(self, *, form: Mapping[str, Param], **kwargs: Any) -> None:
        super().__init__(arguments=["workspace", "create", "{{ run_id }}"], **kwargs)
        self._form = form

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Scheduled runs take the committed revision, manual ones what the form says."""
        if context["run_id"].startswith("-"):
            raise AirflowFailException("a run id that starts with '-' would be read as an option: choose another.")
        values, changed = context["params"], overrides(self._form, context["params"])
        scheduled = context["dag_run"].run_type != "manual"
        revision = values["revision"] or ("HEAD" if scheduled else "")
        if values["in_place"]:
            if changed or revision:
                raise AirflowFailException(
                    f"in_place runs the checkout as it is, so it takes no revision and no other values ({changed}): "
                    "leave these fields alone, or leave in_place off to run in a workspace of its own."
                )
            return {"workspace": self.folder}
        options = [f"--set={key}={json.dumps(value)}" for key, value in changed.items()]
        options += [f"--revision={revision}"] if revision else []
        return self._run([*self.arguments, *options], context["run_id"])


class RemoveWorkspaceOperator(CommandOperator):
    """Removes the run's workspace and keeps its record; there is none where the run was in place."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(arguments=["workspace", "remove", "{{ run_id }}"], **kwargs)

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Run the command, unless there is nothing to remove."""
        return {} if context["params"]["in_place"] else super().execute(context)


def _failure(command: str, exit_code: int, message: str) -> AirflowException:
    kind = AirflowException if exit_code == TRANSIENT else AirflowFailException
    return kind(f"{command} ended with exit code {exit_code}: {message}")


def _json_object(line: str) -> dict[str, Any]:
    """The JSON object a command ends with; empty where it ended otherwise."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
