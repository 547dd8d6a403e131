"""The only place that starts DVC, and the one reader of its files: dvc.yaml, dvc.lock and its lock of paths."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import psutil
from pydantic import BaseModel, Field, ValidationError

from pipeline.errors import UserError
from pipeline.strict_yaml import read_plain
from pipeline.system.environment import environment

#: What DVC says at the end of each stage, and the JSON object for machines.
NOISE = re.compile(
    r"Updating lock file|Generating lock file|To track the changes|\s*git add|To enable auto|\s*dvc config|"
    r"Use `dvc push`|> python -m pipeline|Data and pipelines are up|\{.*\}$|$"
)
PIPELINE = Path("dvc.yaml")
LOCK = Path("dvc.lock")
RWLOCK = Path(".dvc/tmp/rwlock")
Stages = dict[str, dict[str, Any]]


class _Path(BaseModel):
    path: str
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")] | None = None


class _LockEntry(BaseModel):
    """What the pipeline reads of a stage's entry in dvc.lock; other keys are DVC's own."""

    deps: list[_Path] = []
    outs: list[_Path] = []
    metrics: list[_Path] = []
    plots: list[_Path] = []


class _Lock(BaseModel):
    stages: dict[str, _LockEntry]


class _Stage(BaseModel):
    """What the pipeline reads of a stage in dvc.yaml; other keys are DVC's own."""

    deps: list[str | dict[str, Any]] = []
    outs: list[str | dict[str, Any]] = []
    metrics: list[str | dict[str, Any]] = []
    plots: list[str | dict[str, Any]] = []


class _Pipeline(BaseModel):
    stages: dict[str, _Stage]


class Holder(BaseModel):
    """A process that reads or writes a path, as DVC notes it."""

    pid: Annotated[int, Field(ge=0, lt=2**31)]
    cmd: str


class _PathLocks(BaseModel):
    read: dict[str, list[Holder]] = {}
    write: dict[str, Holder] = {}


def dvc_command(*arguments: str) -> list[str]:
    """The command line of this environment's DVC."""
    return [sys.executable, "-m", "dvc", *arguments]


def dvc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run DVC in a folder and wait for it; its lines are decoded as file names are."""
    return subprocess.run(
        dvc_command(*arguments), cwd=folder, env=environment(), capture_output=True, check=False, text=True,
        encoding=sys.getfilesystemencoding(), errors="surrogateescape",
    )  # fmt: skip


def read_stages(path: Path = PIPELINE) -> Stages:
    """The stages of a dvc.yaml as they stand there, by name.

    Raises:
        UserError: there is no such file, or it is not one of DVC's.
    """
    if not path.is_file():
        raise UserError(f"{path.absolute()} does not exist. Run commands from the root of the repository.")
    return _stages(path, _Pipeline, "a pipeline of DVC")


def read_lock(path: Path = LOCK) -> Stages:
    """The entries of a dvc.lock as they stand there, by stage; none where there is no such file or it is empty.

    Raises:
        UserError: it is not a lock file of DVC.
    """
    return _stages(path, _Lock, "a lock file of DVC") if path.exists() else {}


def parse_lock(text: str) -> Stages:
    """The same of the text of a file.

    Raises:
        ValueError: it is not that of a lock file of DVC.
    """
    return _parse(text, _Lock)


def _stages(path: Path, model: type[BaseModel], kind: str) -> Stages:
    text = _text(path, kind)
    try:
        return _parse(text, model)
    except ValueError as error:
        raise UserError(f"{path.absolute()} is not {kind}: {error}. {_way_out(path)}") from None


def _parse(text: str, model: type[BaseModel]) -> Stages:
    tree = read_plain(text)
    if tree is None and model is _Lock:
        return {}
    try:
        model.model_validate(tree)
    except ValidationError as error:
        raise ValueError(_reason(error)) from None
    return dict(tree["stages"])


def _text(path: Path, kind: str) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path.absolute()} is not {kind}: {_reason(error)}. {_way_out(path)}") from None
    if text.startswith("version https://git-lfs"):
        raise UserError(f"{path.absolute()} is a pointer of Git LFS, not {kind}. Fetch it with `git lfs pull`.")
    if any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in text.splitlines()):
        raise UserError(
            f"{path.absolute()} holds the marks of a merge conflict. Resolve it: `git checkout --ours {path.name}`, or "
            "--theirs, takes one side."
        )
    return text


def _way_out(path: Path) -> str:
    way = f"Restore it with `git checkout {path.name}`"
    return f"{way}, or delete it and run `python -m pipeline repro`." if path.name == LOCK.name else f"{way}."


def _reason(error: Exception) -> str:
    """One line: the place and the first fault."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'its content'}: {first['msg']}"
    return " ".join(str(error).split()) or type(error).__name__


def code_files(stages: Iterable[Mapping[str, Any]]) -> list[Path]:
    """The files of the pipeline's own code that stages depend on, folders spread."""
    deps = {dep for stage in stages for dep in stage.get("deps", []) if isinstance(dep, str)}
    roots = [Path(dep) for dep in deps if dep.startswith("pipeline/")]
    return sorted({file for root in roots for file in ([root] if root.is_file() else root.rglob("*.py"))})


def outputs(stage: Mapping[str, Any]) -> Iterator[str]:
    """The paths of a stage's outputs, of an entry of dvc.yaml or of dvc.lock."""
    for kind in ("outs", "metrics", "plots"):
        for out in stage.get(kind, []):
            yield str(out if isinstance(out, str) else out["path"] if "path" in out else next(iter(out), ""))


def forget_ended_holders(path: Path = RWLOCK) -> None:
    """Remove DVC's notes of readers and writers where all of them have ended.

    DVC leaves them when it is stopped. It takes a process of the same id for the one that wrote them, and in a
    container the next process has the same id.

    Raises:
        UserError: the file is damaged.
    """
    if path.exists() and not any(_is_at_work(holder) for holder in path_locks(path)):
        path.unlink(missing_ok=True)


def _is_at_work(holder: Holder) -> bool:
    """Whether the process is there and is the one that was noted: its arguments, after the program, are those."""
    try:
        command = " ".join(psutil.Process(holder.pid).cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    # For a moment after its start a process has no arguments.
    return not command or command.endswith(holder.cmd.partition(" ")[2])


def path_locks(path: Path = RWLOCK) -> list[Holder]:
    """The processes that DVC has noted as readers or writers; those that were killed still stand there.

    Raises:
        UserError: the file is damaged; DVC would refuse it too.
    """
    if not path.exists():
        return []
    try:
        locks = _PathLocks.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path.absolute()} is damaged: {_reason(error)}. A process of DVC was killed while it wrote it, or it is "
            f"not DVC's. When no DVC runs in this folder, remove it: `rm {path}`, and run again."
        ) from None
    return [*(holder for readers in locks.read.values() for holder in readers), *locks.write.values()]
