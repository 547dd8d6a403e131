"""Make the secrets of the stack where they are not there yet; each service sees a folder of its own.

Nothing has a default: what two services share is drawn once and written to both.
"""

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path

ROOT = Path("/run/wsol")


def password() -> str:
    """Without characters that an address or a shell would read."""
    return secrets.token_hex(24)


def fernet_key() -> str:
    """What Airflow encrypts connections with."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def fixed(value: str) -> Callable[[], str]:
    """What is no secret but lies beside one."""
    return lambda: value


#: Files that hold the same value, by what makes it.
SECRETS: tuple[tuple[Callable[[], str], tuple[str, ...]], ...] = (
    (password, ("postgres/airflow", "airflow/database_password")),
    (password, ("postgres/mlflow", "mlflow/database_password")),
    (fernet_key, ("airflow/fernet_key",)),
    (password, ("airflow/secret_key",)),
    (password, ("airflow/jwt_secret",)),
    (fixed("admin"), ("airflow/admin_user",)),
    (password, ("airflow/admin_password",)),
    (fixed("admin"), ("mlflow/admin_user", "tasks/MLFLOW_TRACKING_USERNAME")),
    (password, ("mlflow/admin_password", "tasks/MLFLOW_TRACKING_PASSWORD")),
    (password, ("mlflow/secret_key",)),
)


def make_secrets(root: Path) -> None:
    """Write what is missing."""
    for make, names in SECRETS:
        paths = [root / name for name in names]
        known = next((path.read_text() for path in paths if path.exists()), None)
        for path in paths:
            write_private(path, known := known or make())
    database = (root / "airflow/database_password").read_text()
    write_private(root / "airflow/database_url", f"postgresql+psycopg2://airflow:{database}@postgres:5432/airflow")


def write_private(path: Path, text: str) -> None:
    """A file that only its owner can read, whole or not there."""
    if path.exists():
        return
    new = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o400), "w") as stream:
        stream.write(text)
    new.rename(path)


if __name__ == "__main__":
    make_secrets(ROOT)
