"""What a task's command is and what its end means, wherever it runs."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from wsol_dags.form import overrides, refuse_unknown_keys

#: Exit code of a fault that may pass.
TRANSIENT = 75
#: What a container ends with that somebody or the memory limit killed.
KILLED = (128 + 9, 128 + 15)
#: Names the Airflow run for whatever a stage records.
AIRFLOW_RUN = "WSOL_AIRFLOW_RUN"
#: Names the file in which a command leaves its exit code and error message.
OUTCOME_FILE = "WSOL_OUTCOME_FILE"
#: Names the process that a command ends with, whatever kills that.
STARTER = "WSOL_STARTER"


def workspace_arguments(form: Mapping[str, Param], context: Mapping[str, Any], pinned: bool = False) -> list[str]:
    """The command that makes a run's workspace, with the values of the form that differ from those of params.yaml.

    Args:
        form: the fields of the trigger form.
        context: Airflow's, of the task.
        pinned: every run takes a commit; else manual ones take the working tree as it is on disk.

    Raises:
        AirflowFailException: the run id would be read as an option, or a key of the trigger is no field of the form.
    """
    refuse_unknown_keys(context)
    run_id, values = context["run_id"], context["params"]
    if run_id.startswith("-"):
        raise AirflowFailException("a run id that starts with '-' would be read as an option: choose another.")
    revision = values["revision"] or ("HEAD" if pinned or context["dag_run"].run_type != "manual" else "")
    options = [f"--set={key}={json.dumps(value)}" for key, value in overrides(form, values).items()]
    return ["workspace", "create", run_id, *options, *([f"--revision={revision}"] if revision else [])]


def failure(task: str, exit_code: int | None, message: str, passing: Collection[int] = ()) -> AirflowException:
    """The exception for a command that failed: tried again by Airflow where the fault may pass, final elsewhere.

    Args:
        task: id of the one that failed.
        exit_code: its own; None where nobody could tell, which may pass.
        message: what it said.
        passing: exit codes besides 75 that may pass.
    """
    may_pass = exit_code is None or exit_code == TRANSIENT or exit_code in passing
    kind = AirflowException if may_pass else AirflowFailException
    return kind(f"{task} ended with exit code {exit_code}: {message}")


def json_object(line: str) -> dict[str, Any]:
    """The JSON object a command ends with; empty where it ended otherwise."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def last_object(lines: Iterable[str]) -> dict[str, Any]:
    """The last JSON object among the lines of a log, in which stdout and stderr are mixed."""
    objects = (json_object(line) for line in reversed(list(lines)) if line.startswith("{"))
    return next((found for found in objects if found), {})


def error_message(lines: Iterable[str]) -> str:
    """The last error that a log reports, the pipeline's own before those of DVC, or its last line."""
    shown = [line for line in lines if line.strip()]
    errors = [line for start in ("error: ", "ERROR: ") for line in reversed(shown) if line.startswith(start)]
    return next(iter([*errors, *reversed(shown)]), "no output")
