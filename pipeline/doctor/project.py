"""The project in this folder: parameters, data, remote, tracking, Airflow, what killed processes left behind."""

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.data.tree import files_below
from pipeline.doctor.check import Finding
from pipeline.execution.preflight import OUTPUTS, check_data, check_place, check_writable
from pipeline.local.airflow_home import airflow_home
from pipeline.params import load_params
from pipeline.system.dvc import LOCK, RWLOCK, dvc, path_locks, read_lock, read_stages
from pipeline.system.git import GitError, git
from pipeline.system.locks import REPRO_LOCK, STAGE_LOCK, is_held
from pipeline.system.processes import is_running
from pipeline.system.state import state_folder
from pipeline.tracking.server import server_version, shown_tracking_uri, tracking_uri

#: Of remotes by address, where it names none.
PORTS = {"http": 80, "https": 443, "ssh": 22}


def folder() -> Iterator[Finding]:
    """Where the stages write."""
    read_stages()
    read_lock()
    check_place(Path.cwd(), state_folder())
    for place in (state_folder(), *OUTPUTS):
        check_writable(place)
    yield Finding("folder", "good", f"{Path.cwd()}; the state lies in {state_folder()}")


def params() -> Iterator[Finding]:
    """params.yaml by its models; its inputs need more time."""
    load_params()
    yield Finding("params", "good", "params.yaml is valid; `python -m pipeline check` looks at all that it names")


def data() -> Iterator[Finding]:
    """The raw data set: there, of the layout that is named, readable."""
    settings = load_params()
    check_data(settings)
    root = Path(settings.prepare.root)
    files = files_below(root)
    closed = [name for name in files if not os.access(root / name, os.R_OK)]
    if closed:
        text = f"{len(closed)} of {len(files)} files below {root} cannot be read, as {root / closed[0]}"
        yield Finding("data", "fault", f"{text}: `chmod -R u+r {root}`, or as the owner of the files")
    else:
        yield Finding("data", "good", f"{settings.prepare.dataset}, {len(files):,} files below {root}")


def remote() -> Iterator[Finding]:
    """DVC's default remote, asked for the files of the result that is here."""
    pairs = (line.partition("=") for line in dvc(Path.cwd(), "config", "--list").stdout.splitlines())
    settings = {key: value for key, _, value in pairs}
    name = settings.get("core.remote")
    if not name:
        yield Finding("remote", "good", "none: results stay on this machine; `dvc remote add -d NAME URL` names one")
        return
    refusal = _refusal(settings.get(f"remote.{name}.endpointurl") or settings.get(f"remote.{name}.url", ""), name)
    if refusal:
        text = f"{name} does not answer ({refusal}): correct its address and credentials by `dvc remote modify {name}`"
        yield Finding("remote", "fault", text)
    else:
        yield Finding(
            "remote", "good", f"{name} answers" if LOCK.exists() else f"{name}; it is used when it is pushed to"
        )


def _refusal(url: str, name: str) -> str:
    """What keeps DVC from a remote; empty where it can reach it."""
    address = urlsplit(url)
    if port := address.port or PORTS.get(address.scheme):
        try:
            # DVC takes a server that is away for one without files.
            socket.create_connection((address.hostname or "", port), timeout=5).close()
        except OSError as error:
            return f"{address.hostname}:{port}: {error.strerror or error}"
    if not LOCK.exists():
        return ""
    done = dvc(Path.cwd(), "status", "--cloud", "--remote", name, "--json", "evaluate")
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    return (errors or ["no reason given"])[0].removeprefix("ERROR: ") if done.returncode else ""


def tracking() -> Iterator[Finding]:
    """The server of MLFLOW_TRACKING_URI, or the database of the state folder."""
    uri = tracking_uri()
    if uri.startswith("http"):
        there, here = server_version(), version("mlflow")
        text = f"{shown_tracking_uri()} answers, MLflow {there}"
        if there.split(".")[0] == here.split(".")[0]:
            yield Finding("tracking", "good", text)
        else:
            yield Finding("tracking", "warning", f"{text}, and {here} is installed here: install the server's version")
        return
    path = state_folder() / "mlflow.db"
    if os.environ.get("MLFLOW_TRACKING_URI"):
        yield Finding("tracking", "good", f"{shown_tracking_uri()}; it is asked by the first run")
    elif not path.exists():
        yield Finding("tracking", "good", f"no run yet; they will be in {path}")
    else:
        yield _database(path)


def _database(path: Path) -> Finding:
    """SQLite's own look at a file, which is not written to."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            (runs,) = database.execute("SELECT count(*) FROM runs").fetchone()
    except sqlite3.Error as error:
        mend = f"bring it back from a copy, or move it away (`mv {path} {path}.broken`) and runs start anew"
        return Finding("tracking", "fault", f"{path} cannot be read ({error}): {mend}")
    return Finding("tracking", "good", f"{runs:,} runs in {path}")


def airflow() -> Iterator[Finding]:
    """The embedded Airflow's database."""
    try:
        installed = version("apache-airflow")
    except PackageNotFoundError:
        return  # the line of the packages says so
    marker = airflow_home() / "migrated"
    made = marker.read_text() if marker.exists() else ""
    if made in ("", installed):
        text = f"its home is {airflow_home()}" if made else "its home is made by the first `make run` or `make ui`"
        yield Finding("Airflow", "good", text)
    else:
        text = f"the database in {airflow_home()} is that of {made}: `make run` or `make ui` brings it to {installed}"
        yield Finding("Airflow", "warning", text)


def locks() -> Iterator[Finding]:
    """What is at work here, and what processes that were killed have left."""
    for path, what in ((REPRO_LOCK, "a `repro`"), (STAGE_LOCK, "a stage"), (Path(".dvc/tmp/lock"), "DVC")):
        if is_held(path):
            yield Finding("locks", "good", f"{what} is at work in this folder")
    holders = path_locks()
    if ended := [holder.pid for holder in holders if not is_running(holder.pid)]:
        text = f"process {ended[0]} was killed and still stands in {RWLOCK}: `python -m pipeline repro` forgets it"
        yield Finding("locks", "warning", text)
    try:
        index = Path(git(Path.cwd(), "rev-parse", "--git-path", "index.lock").removesuffix("\n"))
    except GitError:
        index = Path("/nonexistent")  # the line of Git says why
    if index.exists():
        text = f"{index} is there: when no Git is at work in this folder, a killed one left it: `rm {index}`"
        yield Finding("locks", "warning", text)
    if not holders and not index.exists():
        yield Finding("locks", "good", "none left behind")
