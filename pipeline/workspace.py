"""A run's own copy of the repository, so that overrides and other revisions never touch the user's checkout.

A workspace shares DVC's cache and the state folder with the checkout, and every path of ``params.yaml`` means there
what it means here: DVC's run cache is keyed by the text of a path.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.overrides import override, value_of, written
from pipeline.params import PARAMS_FILE, parse_params
from pipeline.preflight import check_writable, refuse_outputs_inside
from pipeline.repro import environment
from pipeline.state import state_folder

#: Keys of ``params.yaml`` whose value, where it is a text, is a path.
PATH_KEYS = ("prepare.root", "train.pretrained")
RECORDED = ("dvc.lock", "params.yaml")
#: What numba keeps beside the modules it compiled.
KERNELS = "pipeline/wsol/__pycache__/*.nb?"
#: In a workspace's folder, the link to its checkout, whose depth varies.
CHECKOUT_LINK = ".checkout"


def create_workspace(
    run_id: str, overrides: Mapping[str, Any], revision: str | None = None, params: str | None = None
) -> Path:
    """Lay out a checkout in ``workspaces/RUN_ID`` of the state folder; one left by an earlier try is replaced.

    Args:
        run_id: any text; characters that do not suit a folder name are replaced.
        overrides: values by dotted key, written into the workspace's ``params.yaml``.
        revision: a commit, branch or tag to clone; None copies the working tree as it is on disk.
        params: text of the parameters file to start from; None takes that of the working tree or revision.

    Returns:
        The workspace's checkout, absolute.

    Raises:
        UserError: not a git checkout, an unknown revision, or a path that does not exist or cannot be the same there.
        ParamsError: an override names an unknown key, or a value does not fit.
    """
    checkout = toplevel()
    commit = _git(checkout, "rev-parse", "--verify", f"{revision or 'HEAD'}^{{commit}}").strip()
    if params is None:
        params = _git(checkout, "show", f"{commit}:{PARAMS_FILE}") if revision else (checkout / PARAMS_FILE).read_text()
    params = override(params, overrides)
    if revision is None:
        # A revision is checked by its own code, the first thing that runs there.
        parse_params(params, f"{PARAMS_FILE} with {written(overrides)}" if overrides else str(PARAMS_FILE))
    paths = _relative_paths(params)
    for path in paths:
        refuse_outputs_inside(path, checkout)
    check_writable(state_folder())
    _remove_tree(folder := _folder(run_id))
    try:
        workspace = folder / _place(checkout, paths)
        lay_out(checkout, workspace, commit if revision else None, params)
        _check_paths(checkout, workspace, params)
        (folder / CHECKOUT_LINK).symlink_to(workspace)
    except BaseException:
        _remove_tree(folder)
        raise
    return workspace


def toplevel() -> Path:
    """The checkout the working folder lies in.

    Raises:
        UserError: it lies in none.
    """
    return Path(_git(Path.cwd(), "rev-parse", "--show-toplevel").strip())


def lay_out(checkout: Path, folder: Path, commit: str | None, params: str, patch: Path | None = None) -> None:
    """Fill a folder with a copy of a checkout that shares its cache and its state folder.

    Args:
        checkout: the Git repository to copy.
        folder: to make.
        commit: to clone; None copies the working tree as it is on disk.
        params: text of the ``params.yaml`` to write; the relative paths in it are linked.
        patch: of changes upon the commit.

    Raises:
        UserError: Git or DVC failed; with what it said.
    """
    _clone(checkout, folder, commit)
    if patch:
        _git(folder, "apply", "--whitespace=nowarn", str(patch))
    _write_params(folder, params)
    for path in _relative_paths(params):
        _link(checkout / path, folder / path)
    _share(checkout, folder)


def remove_workspace(run_id: str) -> Path:
    """Remove a run's workspace; what it ran and with which parameters is kept.

    Returns:
        The run's record, a folder with its ``params.yaml`` and ``dvc.lock``.

    Raises:
        UserError: there is no such workspace.
    """
    folder = _folder(run_id)
    if not (folder / CHECKOUT_LINK).exists():
        raise UserError(f"{folder} holds no workspace; look into {folder.parent} for those that exist.")
    record = state_folder() / "runs" / folder.name
    record.mkdir(parents=True, exist_ok=True)
    for name in RECORDED:
        if (source := folder / CHECKOUT_LINK / name).exists():
            shutil.copy2(source, record / name)
    _remove_tree(folder)
    return record


def _remove_tree(folder: Path) -> None:
    """Remove a folder if it is there; links in it are removed, never followed."""
    if folder.exists():
        shutil.rmtree(folder)


def _folder(run_id: str) -> Path:
    name = re.sub(r"[^\w.\-]", "-", run_id, flags=re.ASCII).lstrip(".")
    if not name:
        raise UserError(f"{run_id!r} is no name for a run: use letters, digits, '.', '_' and '-'.")
    if name != run_id:
        # Another run's id may have come to the same name.
        name += f"-{hashlib.sha256(run_id.encode()).hexdigest()[:6]}"
    return state_folder() / "workspaces" / name


def _paths(params: str) -> dict[str, str]:
    """The paths of a parameters file by their key."""
    values = {key: value_of(params, key) for key in PATH_KEYS}
    return {key: value for key, value in values.items() if isinstance(value, str)}


def _relative_paths(params: str) -> list[Path]:
    return [Path(os.path.normpath(path)) for path in _paths(params).values() if not Path(path).is_absolute()]


def _check_paths(checkout: Path, workspace: Path, params: str) -> None:
    for key, path in _paths(params).items():
        if not (workspace / path).exists():
            raise UserError(f"{key}: {os.path.normpath(checkout / path)} does not exist; no workspace was made.")


def _place(checkout: Path, paths: list[Path]) -> Path:
    """Where in its folder the checkout lies: as deep as a path climbs, under the names it has in the original."""
    climbs = max([1, *(path.parts.count("..") for path in paths)])
    if climbs >= len(checkout.parts):
        raise UserError(
            f"a path in params.yaml climbs above the root of the file system from {checkout}; "
            "give it as an absolute path, or as a link under data/raw."
        )
    return Path(*checkout.parts[-climbs:])


def _clone(checkout: Path, workspace: Path, commit: str | None) -> None:
    """A repository at a commit, or at HEAD with the files that are on disk: tracked, or neither tracked nor ignored."""
    workspace.parent.mkdir(parents=True, exist_ok=True)
    _git(checkout, "clone", "--quiet", "--no-checkout", str(checkout), str(workspace))
    if commit:
        _git(workspace, "checkout", "--quiet", "--detach", commit)
    else:
        for path in _files_on_disk(checkout):
            _copy(checkout / path, workspace / path)
        _git(workspace, "reset", "--quiet")
        # Compiled kernels fit a copy, whose sources keep their time; compiling them anew takes ten seconds.
        for kernel in checkout.glob(KERNELS):
            _copy(kernel, workspace / kernel.relative_to(checkout))


def _files_on_disk(checkout: Path) -> Iterator[Path]:
    state = state_folder()
    for name in _git(checkout, "ls-files", "-z", "-co", "--exclude-standard").split("\0")[:-1]:
        path = checkout / name
        # A deleted file is still listed; a nested repository is listed as a folder.
        if (path.is_symlink() or path.is_file()) and not path.is_relative_to(state):
            yield Path(name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink() and not source.resolve().is_relative_to(source.parent):
        target.symlink_to(source.resolve())
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def _write_params(workspace: Path, text: str) -> None:
    """Write ``params.yaml``; overrides alone do not make the workspace differ from its commit."""
    unchanged = not _git(workspace, "status", "--porcelain", str(PARAMS_FILE))
    (workspace / PARAMS_FILE).write_text(text)
    if unchanged:
        _git(workspace, "update-index", "--assume-unchanged", str(PARAMS_FILE))


def _link(source: Path, target: Path) -> None:
    """Make a path of the workspace show what it shows in the checkout, where git did not bring all of it."""
    if not source.exists() or not _lacks(target, source):
        return
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())


def _lacks(target: Path, source: Path) -> bool:
    """Whether something that lies at ``source`` is missing at ``target``."""
    if not target.exists() or not source.is_dir():
        return not target.exists()
    return bool({p.name for p in source.iterdir()} - {p.name for p in target.iterdir()} - {"__pycache__"})


def _share(checkout: Path, workspace: Path) -> None:
    """The checkout's state folder, DVC settings, cache and, unless the commit has its own, lock file."""
    (workspace / ".wsol").symlink_to(state_folder())
    if not (workspace / "dvc.lock").exists() and (checkout / "dvc.lock").exists():
        shutil.copy2(checkout / "dvc.lock", workspace)
    if (checkout / ".dvc/config.local").exists():
        shutil.copy2(checkout / ".dvc/config.local", workspace / ".dvc")
    cache = _run(checkout, sys.executable, "-m", "dvc", "cache", "dir").strip()
    _run(workspace, sys.executable, "-m", "dvc", "config", "--local", "cache.dir", str((checkout / cache).resolve()))


def _git(folder: Path, *arguments: str) -> str:
    return _run(folder, "git", *arguments)


def _run(folder: Path, *command: str) -> str:
    """A command's stdout.

    Raises:
        UserError: it failed; with what it said.
    """
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"`{' '.join(command)}` failed in {folder}:\n{done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
