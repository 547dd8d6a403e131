"""The ``process`` runtime: a stage's command in the environment Airflow itself runs in."""

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
from airflow.sdk.exceptions import AirflowFailException

from wsol_dags.commands import AIRFLOW_RUN, OUTCOME_FILE, STARTER, failure, json_object, workspace_arguments
from wsol_dags.form import overrides, refuse_unknown_keys
from wsol_dags.runtimes.access import NOTHING, Access

#: Seconds a cancelled command has to end by itself: Airflow kills the task, but not its children, after 5 s.
GRACE = 4.5
#: How a command ends whose stage (137), or which itself, somebody or the kernel killed.
KILLED = (128 + signal.SIGKILL, -signal.SIGKILL)


class CommandOperator(BaseOperator):
    """Runs ``python -m pipeline …`` in a folder and returns the JSON object of its last line.

    Args:
        arguments: of the command.
        folder: where it runs, absolute.

    Raises:
        AirflowException: the command ended with 75, or was killed, as where memory runs out; Airflow tries again.
        AirflowFailException: it ended with another code but 0; trying again would not help.
    """

    template_fields: Sequence[str] = ("arguments", "folder")

    def __init__(self, *, arguments: Sequence[str], folder: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.arguments = list(arguments)
        self.folder = folder
        self._hook = SubprocessHook()
        self._cancelled = False

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Run the command; its lines become the task's log as they come."""
        return self._run(self.arguments, context["run_id"])

    def on_kill(self) -> None:
        """End the command with all it started, before Airflow ends this task."""
        self._cancelled = True
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
                env=dict(os.environ) | {AIRFLOW_RUN: run_id, OUTCOME_FILE: str(outcome), STARTER: str(os.getpid())},
                cwd=self.folder,
            )
            if result.exit_code == 0:
                return json_object(result.output)
            reported = json_object(outcome.read_text()) if outcome.exists() else {}
        passing = () if self._cancelled else KILLED
        raise failure(self.task_id, result.exit_code, reported.get("message") or result.output, passing)


class WorkspaceOperator(CommandOperator):
    """Makes the run's workspace, or takes the checkout itself; returns its folder as ``{"workspace": …}``.

    Args:
        form: the fields of the trigger form; values that differ from their defaults are the run's overrides.
    """

    def __init__(self, *, form: Mapping[str, Param], **kwargs: Any) -> None:
        super().__init__(arguments=["workspace", "create"], **kwargs)
        self._form = form

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Scheduled runs take the committed revision, manual ones what the form says."""
        values, changed = context["params"], overrides(self._form, context["params"])
        if not values["in_place"]:
            return self._run(workspace_arguments(self._form, context), context["run_id"])
        refuse_unknown_keys(context)
        if changed or values["revision"] or context["dag_run"].run_type != "manual":
            raise AirflowFailException(
                f"in_place runs the checkout as it is, so it takes no revision and no other values ({changed}): "
                "leave these fields alone, or leave in_place off to run in a workspace of its own."
            )
        return {"workspace": self.folder}


class RemoveWorkspaceOperator(CommandOperator):
    """Removes the run's workspace and keeps its record; there is none where the run was in place."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(arguments=["workspace", "remove", "{{ run_id }}"], **kwargs)

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Run the command, unless there is nothing to remove."""
        return {} if context["params"]["in_place"] else super().execute(context)


class ProcessRuntime:
    """Tasks are processes of this machine, on the checkout the DAG lies in.

    Attributes:
        checkout: the repository.
        pinned: manual runs may take the working tree as it is on disk, or run in it.
        runs_at_once: one, since no limit holds across runs without a pool, which somebody's Airflow may lack: it would
            never start the tasks of a pool it does not know.
    """

    pinned = False
    runs_at_once = 1

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout

    def command(
        self, arguments: Sequence[str], folder: str, gpus: int = 0, access: Access = NOTHING, **options: Any
    ) -> BaseOperator:
        """A task that runs one command of the pipeline, in the environment of Airflow whatever ``access`` says.

        The machine's GPUs are visible to every one; a stage that needs some is at work in one row of a sweep at a time.
        """
        limits = {"max_active_tis_per_dag": 1} if gpus else {}
        return CommandOperator(arguments=arguments, folder=folder, **limits, **options)

    def create_workspace(self, form: Mapping[str, Param], **options: Any) -> BaseOperator:
        """A task that returns the run's ``{"workspace": folder}``."""
        return WorkspaceOperator(form=form, folder=str(self.checkout), **options)

    def remove_workspace(self, **options: Any) -> BaseOperator:
        """A task that removes it."""
        return RemoveWorkspaceOperator(folder=str(self.checkout), **options)
