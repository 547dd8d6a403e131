"""The state folder: what outlives a workspace.

MLflow's database and artifacts, resume checkpoints, Airflow's home, run records and the workspaces themselves. It is
the same folder for a checkout and for every workspace made from it.
"""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

_ID = "state.id"


def state_folder() -> Path:
    """Absolute path: ``WSOL_STATE``, else ``.wsol`` of the checkout (a workspace holds a link of that name)."""
    if "WSOL_STATE" in os.environ:
        return Path(os.environ["WSOL_STATE"]).absolute()
    return (_main_checkout(Path.cwd()) / ".wsol").resolve()


def checkpoints_folder() -> Path:
    """Where trainings leave what they go on from: ``KEY-NUMBER.pt``, until ``track`` has recorded their result."""
    return state_folder() / "checkpoints"


def training_lock(train_key: str) -> Path:
    """The lock of whoever trains this: workspaces that train the same share its checkpoint and its MLflow run."""
    return checkpoints_folder() / f"{train_key}.lock"


def state_id() -> str:
    """What this state folder is known by, whatever it is mounted as; empty until a training has begun in it."""
    file = state_folder() / _ID
    return file.read_text(errors="replace").strip() if file.is_file() else ""


def made_state_id() -> str:
    """The same, made where there is none yet; of two that make it at once one wins."""
    file = state_folder() / _ID
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{_ID}.{secrets.token_hex(4)}")
        temporary.write_text(secrets.token_hex(16))
        with suppress(FileExistsError):
            os.link(temporary, file)
        temporary.unlink()
    return state_id()


def database_uri(path: Path) -> str:
    """The address of a SQLite database; SQLAlchemy reads ``%`` and ``?`` in it, and takes all else as it is."""
    return f"sqlite:///{path}".replace("%", "%25").replace("?", "%3F")


def shown_uri(uri: str) -> str:
    """An address as it may be printed: without the user and password it may hold."""
    return re.sub(r"//[^/@\s]*@", "//", uri)


def _main_checkout(folder: Path) -> Path:
    """The checkout a folder of ``dvc exp run --temp`` or ``--queue`` belongs to; any other folder is its own."""
    parts = folder.parts
    for i in range(len(parts) - 2):
        if parts[i : i + 3] == (".dvc", "tmp", "exps"):
            return Path(*parts[:i])
    return folder
