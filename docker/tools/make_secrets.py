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


def account(name: str, *identities: str) -> tuple[tuple[Callable[[], str], tuple[str, ...]], ...]:
    """One of MLflow, whose name and password tasks of these identities see as the variables of MLflow's client."""
    return (
        (fixed(name), tuple(f"tasks/{identity}/MLFLOW_TRACKING_USERNAME" for identity in identities)),
        (
            password,
            (
                f"mlflow/{name}_password",
                *(f"tasks/{identity}/MLFLOW_TRACKING_PASSWORD" for identity in identities),
            ),
        ),
    )


#: Files that hold the same value, by what makes it.
SECRETS: tuple[tuple[Callable[[], str], tuple[str, ...]], ...] = (
    (password, ("postgres/airflow", "airflow/database_password")),
    (password, ("postgres/mlflow", "mlflow/database_password")),
    (fernet_key, ("airflow/fernet_key",)),
    (password, ("airflow/secret_key",)),
    (password, ("airflow/jwt_secret",)),
    (fixed("admin"), ("airflow/admin_user",)),
    (password, ("airflow/admin_password",)),
    (fixed("admin"), ("mlflow/admin_user",)),
    (password, ("mlflow/admin_password",)),
    (password, ("mlflow/reviewer_password",)),
    (password, ("mlflow/secret_key",)),
    *account("training", "training", "publish"),
    *account("promotion", "promotion"),
)


def make_secrets(root: Path) -> None:
    """Write what is missing."""
    for make, names in SECRETS:
        paths = [root / name for name in names]
        known = next((path.read_text() for path in paths if path.exists()), None)
        for path in paths:
            path.parent.mkdir(mode=0o750, exist_ok=True)
            write_private(path, known := known or make())
    remove_those_for_every_task(root / "tasks")
    database = (root / "airflow/database_password").read_text()
    write_private(root / "airflow/database_url", f"postgresql+psycopg2://airflow:{database}@postgres:5432/airflow")


def remove_those_for_every_task(folder: Path) -> None:
    """Of a stack whose tasks had one identity: that of MLflow goes, keys of a store are those of `publish`."""
    for path in folder.iterdir():
        if path.is_file() and path.name.startswith("MLFLOW_"):
            path.unlink()
        elif path.is_file():
            path.rename(folder / "publish" / path.name)


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
