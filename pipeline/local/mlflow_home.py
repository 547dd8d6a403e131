"""What the MLflow page needs on this machine: where its data lies, and who may sign in."""

import importlib.util
import json
import secrets
from pathlib import Path

from pipeline.errors import UserError
from pipeline.local.airflow_home import USER, airflow_environment, password_file
from pipeline.system.state import database_uri, state_folder


def tracking_database() -> str:
    """Address of the database that runs are written to where no server is named."""
    return database_uri(state_folder() / "mlflow.db")


def artifacts_folder() -> Path:
    """Where the files of its runs lie."""
    return state_folder() / "mlartifacts"


def set_up() -> None:
    """Write the settings of the sign-in. The users are made anew at each start: the password file alone says who.

    Raises:
        UserError: the environment is older than the sign-in.
    """
    if importlib.util.find_spec("flask_wtf") is None:
        raise UserError("Flask-WTF, which MLflow's sign-in needs, is not installed. Bring it in: `make setup`.")
    home = _home()
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    (home / "users.db").unlink(missing_ok=True)
    # Without the cache every request of a page would cost a password hash.
    settings = {
        "default_permission": "NO_PERMISSIONS",
        "database_uri": database_uri(home / "users.db"),
        "auth_cache_ttl_seconds": "60",
    }
    lines = [f"{name} = {value.replace('%', '%%')}\n" for name, value in settings.items()]
    (home / "sign_in.ini").write_text("".join(["[mlflow]\n", *lines]))


def server_environment() -> dict[str, str]:
    """The environment of MLflow's server: none of the user's own settings for MLflow, and the password."""
    inherited = {
        name: value for name, value in airflow_environment().items() if not name.lstrip("_").startswith("MLFLOW_")
    }
    return inherited | {
        "MLFLOW_AUTH_CONFIG_PATH": str(_home() / "sign_in.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": json.loads(password_file().read_text())[USER],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_urlsafe(32),
        # Its background jobs judge language models: seven idle processes here.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _home() -> Path:
    return state_folder() / "mlflow"
