"""What a tracking server says of a run, checked before it is used.

Whoever may write to the server may set a run's tags and artifacts to anything: an id that is part of a file name, a
commit that Git would take for an option, a path that leads out of the folder it is meant for.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import UserError
from pipeline.strict_yaml import read_plain
from pipeline.system.dvc import Stages, outputs, parse_lock

#: Where the model file for `predict` lies among a run's artifacts.
MODEL_FILE = "predict/model.safetensors"
#: MLflow's own rule for ids of runs.
RUN_ID = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
#: What DVC records of an output that lies in its cache under its hash.
OUT_KEYS = frozenset({"path", "hash", "md5", "size", "nfiles", "isexec"})


def run_id(text: str) -> str:
    """An id that may be part of a file name.

    Raises:
        UserError: it is not the id of a run.
    """
    if not RUN_ID.fullmatch(text):
        raise UserError(f"{text!r} is not the id of an MLflow run: letters, digits, '-' and '_'.")
    return text


def commit(text: str) -> str:
    """A full commit hash.

    Raises:
        UserError: it is something else.
    """
    if not COMMIT.fullmatch(text):
        raise UserError(f"the run names {text!r} as its commit, which is not a commit hash; its code cannot be found.")
    return text


def place(folder: Path, path: str) -> Path:
    """Where a recorded path lies in a folder.

    Raises:
        UserError: it would lie outside of the folder, or behind a link.
    """
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in path:
        raise UserError(f"the run's record names {path!r}, which does not lie in the run's folder; nothing was made.")
    if link := next(links(folder, Path(*parts)), None):
        raise UserError(f"{path} would be written to {link.readlink()}: {link} is a link. Nothing was made.")
    return folder / path


def links(folder: Path, path: Path) -> Iterator[Path]:
    """The links on the way from a folder to a path relative to it, the path itself included."""
    steps = [folder / parent for parent in (*reversed(path.parents[:-1]), path)]
    return (step for step in steps if step.is_symlink())


def check_lock(stages: Stages, folder: Path) -> None:
    """Check the outputs of a recorded dvc.lock: files of the cache that belong into a folder.

    Raises:
        UserError: an output would lie elsewhere, or be taken from elsewhere.
    """
    for name, entry in stages.items():
        for path in outputs(entry):
            place(folder, path)
        for out in entry.get("outs", []):
            if other := out.keys() - OUT_KEYS:
                raise UserError(f"the run's dvc.lock says {', '.join(sorted(other))} of stage {name}: not one of ours.")


def check_stages(stages: Stages, folder: Path, outs: Collection[str], sources: Collection[str]) -> None:
    """Check the stages of a recorded dvc.yaml: DVC is to find its outputs by their paths, in this folder.

    Args:
        stages: by name.
        folder: that the run is checked out into.
        outs: paths of the outputs that DVC will be told to restore; it takes a stage of that name first.
        sources: what is not an output of any stage.

    Raises:
        UserError: a stage works in another folder, is made from a template, is named as another's output, or has an
            output that lies elsewhere or holds sources.
    """
    for name, stage in stages.items():
        if other := {"wdir", "foreach", "matrix", "do"} & stage.keys():
            raise UserError(f"the run's dvc.yaml says {', '.join(sorted(other))} of stage {name}: not one of ours.")
        if name in outs and list(outputs(stage)) != [name]:
            raise UserError(
                f"the run's dvc.yaml has a stage of the name of another's output, {name}; nothing was made."
            )
        for path in outputs(stage):
            place(folder, path)
            if "${" in path or PurePosixPath(path).parts[0] in sources:
                raise UserError(f"the run's dvc.yaml makes {path} an output of stage {name}; nothing was made.")


def parameters(text: str) -> dict[str, Any]:
    """The tree of a recorded params.yaml.

    Raises:
        UserError: it is not a mapping in YAML.
    """
    try:
        tree = read_plain(text)
    except ValueError as error:
        raise UserError(f"the run's params.yaml is not YAML: {error}") from None
    if not isinstance(tree, dict):
        raise UserError("the run's params.yaml is not a mapping of keys to values.")
    return tree


def lock(run: str, file: Path) -> Stages:
    """The entries of a recorded dvc.lock, by stage.

    Raises:
        UserError: it is not a lock file of DVC.
    """
    with reading(run, "provenance/dvc.lock"):
        return parse_lock(file.read_text())


@contextmanager
def reading(run: str, artifact: str) -> Iterator[None]:
    """Turn whatever a damaged artifact makes its reader raise into a UserError that names it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the readers raise a dozen unrelated types
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"artifact {artifact} of run {run} is damaged: {reason}. Run `python -m pipeline track` where its result "
            "lies, then again."
        ) from None
