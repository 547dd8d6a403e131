"""The embedded Airflow: its settings, secrets and database in the state folder, for one user on one machine."""

import base64
import configparser
import importlib.metadata
import io
import json
import os
import re
import secrets
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pipeline.errors import UserError, WsolError
from pipeline.system.environment import environment
from pipeline.system.processes import run_kept
from pipeline.system.state import database_uri, state_folder

DAG_ID = "wsol_retrain"
USER = "admin"
#: Settings, connections and variables of somebody else's Airflow.
FOREIGN = ("AIRFLOW", "_AIRFLOW")
#: Where no proxy leads to: its processes talk with one another there.
LOOPBACK = ("127.0.0.1", "localhost")
#: What Airflow fills in: variables of the shell in its settings, templates in the arguments of tasks.
TEMPLATES = r"\$|\{[{%#]"
#: Two of the tables that `airflow db migrate` makes; an embedded Airflow without them has no database.
TABLES = frozenset({"alembic_version", "dag_run"})


def airflow_home() -> Path:
    """Absolute path of Airflow's home."""
    return state_folder() / "airflow"


def password_file() -> Path:
    """The file with the password of the page's only user."""
    return airflow_home() / "passwords.json"


def full_log() -> Path:
    """Everything Airflow says outside of its tasks."""
    return airflow_home() / "logs" / "airflow.log"


def airflow_command(*arguments: str) -> list[str]:
    """The command line of this environment's Airflow."""
    return [sys.executable, "-m", "airflow", *arguments]


def airflow_environment() -> dict[str, str]:
    """The environment in which Airflow finds its home, and nothing of another Airflow; nothing secret is in it."""
    own = {name: value for name, value in environment().items() if not name.startswith(FOREIGN)}
    direct = {name: ",".join(filter(None, [own.get(name), *LOOPBACK])) for name in ("NO_PROXY", "no_proxy")}
    return own | direct | {"AIRFLOW_HOME": str(airflow_home()), "WSOL_STATE": str(state_folder())}


def check_places(checkout: Path) -> None:
    """Refuse folders whose names Airflow would take for something else, before anything is written there.

    Raises:
        UserError: such a name; the rest of the pipeline may do with it.
    """
    for folder, pattern in ((checkout, TEMPLATES), (state_folder(), TEMPLATES + "|%")):
        if found := re.search(pattern, str(folder)):
            raise UserError(
                f"{folder}: Airflow takes {found[0]!r} in a path for a variable. Rename that folder, or, where it is "
                "the state folder alone, name another by WSOL_STATE. `python -m pipeline repro` needs no Airflow."
            )


def set_up(checkout: Path) -> None:
    """Write settings, make secrets and the database where they are not there yet.

    Raises:
        WsolError: Airflow could not make its database; the message names its log.
    """
    home = airflow_home()
    full_log().parent.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    if not password_file().exists():
        _write_private(password_file(), json.dumps({USER: secrets.token_urlsafe(18)}))
    _write_settings(home / "airflow.cfg", checkout)
    _migrate(home / "migrated")


def _write_settings(path: Path, checkout: Path) -> None:
    """Airflow fills in its defaults; secrets that are there already stay."""
    old = configparser.RawConfigParser()
    old.read(path)
    new = configparser.RawConfigParser()
    new.read_dict(_quoted(_settings(checkout)))
    for section, name, make in _SECRETS:
        new[section][name] = old[section][name] if old.has_option(section, name) else make()
    buffer = io.StringIO()
    new.write(buffer)
    if old != new:
        _write_private(path, buffer.getvalue())


def _quoted(settings: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """As Airflow reads them: it fills in what follows a single percent sign."""
    return {
        section: {name: value.replace("%", "%%") for name, value in values.items()}
        for section, values in settings.items()
    }


def _settings(checkout: Path) -> dict[str, dict[str, str]]:
    home = airflow_home()
    return {
        "core": {
            "dags_folder": str(checkout / "dags"),
            "load_examples": "False",
            "executor": "LocalExecutor",
            "parallelism": "2",
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": str(password_file()),
        },
        "database": {"sql_alchemy_conn": database_uri(home / "airflow.db")},
        "api": {"host": "127.0.0.1", "workers": "1"},
        "api_auth": {},
        "logging": {"base_log_folder": str(home / "logs")},
        "dag_processor": {"refresh_interval": "30", "min_file_process_interval": "10"},
        # An idle scheduler looks for the next task after this time: it is most of the wait between two stages.
        "scheduler": {"scheduler_heartbeat_sec": "2", "scheduler_idle_sleep_time": "0.3"},
    }


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


_SECRETS = (
    ("core", "fernet_key", _fernet_key),
    ("api", "secret_key", lambda: secrets.token_urlsafe(32)),
    ("api_auth", "jwt_secret", lambda: secrets.token_urlsafe(64)),
)


def _write_private(path: Path, text: str) -> None:
    """A file that only its owner can read, from its first byte on; there as a whole or not at all.

    With half of its keys, Airflow could not read what it had encrypted before.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def _migrate(marker: Path) -> None:
    """Make or upgrade the database, once per version of Airflow: asking it takes seconds."""
    version = importlib.metadata.version("apache-airflow")
    if marker.exists() and marker.read_text() == version and _has_tables():
        return
    with full_log().open("ab") as log:
        code = run_kept(airflow_command("db", "migrate"), env=airflow_environment(), stdout=log, stderr=log)
    if code or not _has_tables():
        raise WsolError(f"Airflow could not make its database in {airflow_home()}; see {full_log()}.")
    marker.write_text(version)


def _has_tables() -> bool:
    try:
        with _database() as connection:
            found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError:
        return False
    return found >= TABLES


def lock_file(name: str) -> Path:
    """The lock of a command that uses this home."""
    return airflow_home() / f"{name}.lock"


def is_paused() -> bool:
    """Whether the scheduler leaves the DAG alone; so it does with one it does not know yet."""
    with _database() as connection:
        row = connection.execute("SELECT is_paused FROM dag WHERE dag_id = ?", (DAG_ID,)).fetchone()
    return row is None or bool(row[0])


def fail_abandoned_runs() -> None:
    """Mark runs of ``airflow dags test`` whose process is gone: the scheduler would carry on with them."""
    abandoned = "SELECT run_id FROM dag_run WHERE state = 'running' AND triggered_by = 'TEST'"
    with _database() as connection:
        connection.execute(
            "UPDATE task_instance SET state = 'failed' WHERE state NOT IN ('success', 'failed', 'skipped') "
            f"AND run_id IN ({abandoned})"
        )
        connection.execute(f"UPDATE dag_run SET state = 'failed' WHERE run_id IN ({abandoned})")


@contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(airflow_home() / "airflow.db", timeout=30)) as connection, connection:
        yield connection
