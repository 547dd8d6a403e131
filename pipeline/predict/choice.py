"""Which model ``--model`` names: the last run here, a file, a tracked run, or one of the registry."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import reaching, write_bytes
from pipeline.predict.bundle import SUFFIX, Model, read_model, write_model_here
from pipeline.tracking import recorded, server
from pipeline.tracking.registry import fetch

_REGISTERED = re.compile(r"models:/([^/@]+)(?:@([\w\-.]+)|/(\d+))")


def load_model(name: str = "", copy: Path | None = None) -> Model:
    """Load a model.

    Args:
        name: empty for the last run in this folder; a model file or the folder of one; the id of a tracked run;
            ``models:/NAME@champion`` or ``models:/NAME/3`` of MLflow's registry.
        copy: where to write its file besides.

    Raises:
        UserError: there is none of that name, or it cannot be used.
        TransientError: the server does not answer.
    """
    with _model_file(name) as path:
        model = read_model(path)
        if copy:
            write_bytes(copy, path.read_bytes())
        return model


@contextmanager
def _model_file(name: str) -> Iterator[Path]:
    with reaching("--model"):
        found = _in_folder(Path(name)) if name and Path(name).exists() else None
    if found:
        yield found
        return
    with tempfile.TemporaryDirectory() as folder:
        if not name:
            path = Path(folder) / f"model{SUFFIX}"
            write_model_here(path)
            yield path
        elif name.startswith("models:/"):
            yield _of_registry(name, Path(folder))
        elif "/" in name or name.endswith(SUFFIX) or not recorded.RUN_ID.fullmatch(name):
            raise UserError(f"--model: {Path(name).absolute()} does not exist.")
        else:
            yield _of_run(name, Path(folder))


def _in_folder(path: Path) -> Path:
    if path.is_file():
        return path
    files = sorted(file for file in path.iterdir() if file.name.endswith(SUFFIX))
    if len(files) != 1:
        raise UserError(f"--model: {path.absolute()} holds {len(files)} model files (*{SUFFIX}); name one of them.")
    return files[0]


def _of_run(run_id: str, folder: Path) -> Path:
    with server.clear_errors("fetch the model", "python -m pipeline predict"), server.patience(*server.PROBE_PATIENCE):
        return fetch(server.client(), recorded.run_id(run_id), recorded.MODEL_FILE, folder)


def _of_registry(name: str, folder: Path) -> Path:
    parts = _REGISTERED.fullmatch(name)
    if not parts:
        raise UserError(f"--model: {name} is not models:/NAME@ALIAS or models:/NAME/VERSION.")
    model, alias, number = parts.groups()
    with server.clear_errors("find the model", "python -m pipeline predict"), server.patience(*server.PROBE_PATIENCE):
        client = server.client()
        by_alias, by_number = client.get_model_version_by_alias, client.get_model_version
        version = by_alias(model, alias) if alias else by_number(model, number)
    return _of_run(version.run_id, folder)
