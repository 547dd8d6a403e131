"""The connection to the tracking server: where it is, how long to wait for it, and what its failures mean.

With ``tracking.py`` the only module that imports mlflow, and only when something is logged: a machine that trains
needs none.
"""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from math import inf
from pathlib import Path
from typing import Any

from pipeline.errors import TransientError, UserError, WsolError
from pipeline.system.faults import local_fault
from pipeline.system.locks import exclusive_lock
from pipeline.system.server_faults import NOT_MLFLOW, Fault, classify
from pipeline.system.state import database_uri, shown_uri, state_folder

#: Seconds and retries per request. Training must not wait for a server that is away; large files take their time.
LIVE_PATIENCE = (3, 1)
PROBE_PATIENCE = (5, 1)
TRACK_PATIENCE = (60, 2)
#: What SQLite says of the file system, as SQLAlchemy hands it on.
DATABASE_FAULT = re.compile(
    r"\(sqlite3\.\w+\) (database or disk is full|attempt to write a readonly database|unable to open database file|"
    r"disk I/O error|database disk image is malformed|file is not a database)"
)


def tracking_uri() -> str:
    """``MLFLOW_TRACKING_URI``, else a SQLite database in the state folder (absolute)."""
    return os.environ.get("MLFLOW_TRACKING_URI") or database_uri(state_folder() / "mlflow.db")


def shown_tracking_uri() -> str:
    """The same as it may be printed: without the user and password it may hold."""
    return shown_uri(tracking_uri())


def client() -> Any:
    """A client of the tracking server; a local database is tried first, as MLflow would wait for it two minutes."""
    # A pipeline that runs unattended reports to nobody, and its stdout is one line of JSON.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        import mlflow
    except ImportError as error:
        raise UserError(f"mlflow cannot be imported ({error}). Install it: `make setup`.") from None
    uri = tracking_uri()
    if not uri.startswith("sqlite:///"):
        return mlflow.MlflowClient(uri)
    with _database_to_oneself(path := _database_file(uri)):
        if not path.stat().st_size:
            _create_database(path)
        return mlflow.MlflowClient(uri)


def server_version() -> str:
    """What the server at ``MLFLOW_TRACKING_URI`` is, asked with the user's credentials; nothing is written there.

    Raises:
        TransientError: it does not answer.
        UserError: it refuses, or is not MLflow.
    """
    with clear_errors("show its experiments", "python -m pipeline doctor"), patience(*PROBE_PATIENCE):
        made = client()
        made.search_experiments(max_results=1)
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        return str(http_request(get_default_host_creds(tracking_uri()), "/version", "GET").text).strip()


def _create_database(path: Path) -> None:
    """Beside its place, then in it: MLflow cannot continue with tables whose making was interrupted."""
    import mlflow

    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    mlflow.MlflowClient(database_uri(new)).search_experiments(max_results=1)
    new.replace(path)


def _database_file(uri: str) -> Path:
    from sqlalchemy import make_url

    return Path(make_url(uri).database or "")


@contextmanager
def _database_to_oneself(path: Path) -> Iterator[None]:
    """One process at a time opens a database: two that create its tables at once destroy each other's work."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(path.with_name(f"{path.name}.lock"), "another process", inf):
            _try_database(path)
            yield
    except OSError as error:
        raise _unwritable(path, error) from None


def _try_database(path: Path) -> None:
    try:
        with closing(sqlite3.connect(path, timeout=LIVE_PATIENCE[0])) as database:
            database.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise TransientError(f"{path} is in use by another process; retry later.") from None
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: Exception) -> UserError:
    return UserError(
        f"the tracking database {path} cannot be written: {error}. Make that place writable, or name another by "
        "WSOL_STATE or MLFLOW_TRACKING_URI."
    )


def experiment_id(client: Any, name: str) -> str:
    """Id of an experiment, created if need be; the artifacts of a local database lie in the state folder."""
    from mlflow import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        local = not tracking_uri().startswith("http")
        try:
            location = (state_folder() / "mlartifacts").as_uri() if local else None
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            # Two runs at once: the other one was first.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)
    if experiment.name != name:
        raise UserError(f"{shown_tracking_uri()}: {NOT_MLFLOW}.")
    _check_usable(experiment)
    return str(experiment.experiment_id)


def _check_usable(experiment: Any) -> None:
    if experiment.lifecycle_stage != "active":
        raise UserError(
            f"MLflow experiment {experiment.name!r} was deleted. Restore it with `mlflow experiments restore -x "
            f"{experiment.experiment_id}`, or set another track.experiment in params.yaml."
        )
    if experiment.experiment_id == "0" and not tracking_uri().startswith("http"):
        raise UserError(
            f"track.experiment in params.yaml: {experiment.name!r} is MLflow's own, whose artifacts lie wherever its "
            "database was first opened from. Set another name."
        )


@contextmanager
def patience(seconds: int, retries: int) -> Iterator[None]:
    """Bound MLflow's waiting, which by default takes minutes; the user's own settings win."""
    settings = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries),
    }
    ours = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


@contextmanager
def clear_errors(action: str, command: str) -> Iterator[None]:
    """Faults of the server as TransientError, refusals and faults of this machine's file system as UserError.

    Args:
        action: what is refused, such as "record the run".
        command: to run again.
    """
    try:
        yield
    except WsolError:
        raise
    except Exception as error:
        _refuse_local_fault(error, action, command)
        fault = classify(error)
        if fault is None:
            raise
        raise _in_words(fault, error, action, command) from None


def _in_words(fault: Fault, error: Exception, action: str, command: str) -> WsolError:
    address = shown_tracking_uri()
    if fault.kind is TransientError:
        cause = f"{fault.meaning} ({reason(error)})" if fault.meaning else reason(error)
        return TransientError(f"{address} does not answer: {cause}. Nothing is lost: retry later with `{command}`.")
    meaning = fault.meaning.replace("ADDRESS", address) or "check its address and track.experiment"
    return UserError(f"{address} refused to {action}: {reason(error)}: {meaning}. Then run `{command}` again.")


def _refuse_local_fault(error: Exception, action: str, command: str) -> None:
    """A full disk or a folder that cannot be written is not mended by waiting for the server."""
    fault = local_fault(error)
    if not fault and not tracking_uri().startswith("http") and (database := DATABASE_FAULT.search(str(error))):
        fault = f"{shown_tracking_uri()}: {database[1]}"
    if fault:
        raise UserError(
            f"cannot {action}: {fault}. Free that place or make it writable, then run `{command}` again; nothing is "
            "lost."
        ) from None


def reason(error: Exception) -> str:
    """The first line of an error's text; of a failed request only its cause, without the frames around it."""
    text = (str(error) or type(error).__name__).splitlines()[0]
    return shown_uri(re.split(r"Caused by \w+\(\W*", text)[-1].rstrip(".\"')"))
