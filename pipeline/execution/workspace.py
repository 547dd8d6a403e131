"""A run's own copy of the repository, so that overrides and other revisions never touch the user's checkout.

A workspace shares DVC's cache and the state folder with the checkout, and every path of ``params.yaml`` means there
what it means here: DVC's run cache is keyed by the text of a path.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.execution.preflight import OUTPUTS, check_place, check_repository, check_writable, refuse_outputs_inside
from pipeline.files import reaching, write_bytes
from pipeline.overrides import override, value_of, written
from pipeline.params import PARAMS_FILE, parse_params
from pipeline.system.dvc import LOCK, dvc
from pipeline.system.git import commit_of, git, toplevel
from pipeline.system.locks import REPRO_LOCK, STAGE_LOCK, wait_until_free
from pipeline.system.state import state_folder
from pipeline.tracking.recorded import links

#: Keys of ``params.yaml`` whose value, where it is a text, is a path.
PATH_KEYS = ("prepare.root", "train.pretrained")
RECORDED = (LOCK, PARAMS_FILE)
#: Folders of the repository's own code: git brings them, whatever a path in ``params.yaml`` says.
CODE = ("pipeline", "dags")
STATE_LINK = ".wsol"
#: What numba keeps beside the modules it compiled.
KERNELS = "pipeline/evaluation/__pycache__/*.nb?"
#: In a workspace's folder, the link to its checkout, whose depth varies.
CHECKOUT_LINK = ".checkout"
#: Seconds that a command which was told to stop may take; all runtimes kill it far sooner.
PATIENCE = 60.0


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
    checkout = toplevel(Path.cwd())
    check_place(checkout, state_folder())
    check_repository(Path.cwd())
    commit = commit_of(checkout, revision) if revision else None
    if params is None:
        params = _committed_params(checkout, commit) if commit else (checkout / PARAMS_FILE).read_text()
    params = override(params, overrides)
    if revision is None:
        # A revision is checked by its own code, the first thing that runs there.
        parse_params(params, f"{PARAMS_FILE} with {written(overrides)}" if overrides else str(PARAMS_FILE))
    paths = relative_paths(params)
    for path in paths:
        refuse_outputs_inside(path, checkout)
    check_writable(state_folder())
    _remove_tree(folder := _folder(run_id))
    try:
        workspace = folder / _place(checkout, paths)
        clone(checkout, workspace, commit)
        configure(checkout, workspace, params)
        link_shared(checkout, workspace, params, within=folder)
        _check_paths(checkout, workspace, params)
        (folder / CHECKOUT_LINK).symlink_to(workspace)
    except BaseException:
        _remove_tree(folder)
        raise
    return workspace


def fetches_weights(workspace: Path) -> bool:
    """Whether a training there begins with weights that a library downloads."""
    return value_of((workspace / PARAMS_FILE).read_text(), "train.pretrained") is True


def clone(checkout: Path, folder: Path, commit: str | None) -> None:
    """A repository at a commit, or at HEAD with the files that are on disk: tracked, or neither tracked nor ignored.

    Args:
        checkout: the Git repository to copy.
        folder: to make; an empty one is used.
        commit: full hash; None copies the working tree as it is on disk, but for what the pipeline writes.

    Raises:
        UserError: Git failed, with what it said; or a link in the copy leads what is written there elsewhere.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    git(checkout, "clone", "--quiet", "--no-checkout", "--", str(checkout), str(folder))
    if commit:
        git(folder, "checkout", "--quiet", "--detach", commit)
    else:
        for path in _files_on_disk(checkout):
            _copy(checkout / path, folder / path)
        git(folder, "reset", "--quiet")
        # Compiled kernels fit a copy, whose sources keep their time; compiling them anew takes ten seconds.
        for kernel in checkout.glob(KERNELS):
            _copy(kernel, folder / kernel.relative_to(checkout))


def configure(checkout: Path, folder: Path, params: str) -> None:
    """Give a fresh clone its parameters, the checkout's cache and, unless the commit has its own, its lock file.

    Raises:
        UserError: Git or DVC failed, with what it said; or a link in the copy leads what is written there elsewhere.
    """
    _check_places(folder)
    _write_params(folder, params)
    _share(checkout, folder)


def link_shared(checkout: Path, folder: Path, params: str, within: Path) -> list[Path]:
    """Link what a fresh clone shares with its checkout: the state folder and the data that Git did not bring.

    Nothing that may remove files, such as DVC, is to work in the clone before and with a record of somebody else's.

    Args:
        checkout: what was cloned.
        folder: the clone.
        params: text of its ``params.yaml``.
        within: the folder outside of which nothing is linked.

    Returns:
        The relative paths of the parameters that lead out of ``within``.
    """
    # First: data or weights may lie in the state folder.
    (folder / STATE_LINK).symlink_to(state_folder())
    return [path for path in relative_paths(params) if not _link(checkout, folder, path, within)]


def remove_workspace(run_id: str) -> Path:
    """Remove a run's workspace; what it ran and with which parameters is kept.

    Returns:
        The run's record, a folder with its ``params.yaml`` and ``dvc.lock``.

    Raises:
        UserError: there is no such workspace.
        TransientError: a command is still at work in it.
    """
    folder = _folder(run_id)
    if not (folder / CHECKOUT_LINK).exists():
        raise UserError(f"{folder} holds no workspace; look into {folder.parent} for those that exist.")
    for lock in (REPRO_LOCK, STAGE_LOCK):
        # A run that was ended takes its container down while this begins. What a stage still writes would bring back a
        # part of the folder, or keep it from being removed.
        wait_until_free(folder / CHECKOUT_LINK / lock, f"a command in {folder}", PATIENCE)
    record = state_folder() / "runs" / folder.name
    record.mkdir(parents=True, exist_ok=True)
    for name in RECORDED:
        if (source := folder / CHECKOUT_LINK / name).exists():
            shutil.copy2(source, record / name)
    _remove_tree(folder)
    return record


def _remove_tree(folder: Path) -> None:
    """Remove a folder if it is there; links in it are removed, never followed."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _folder(run_id: str) -> Path:
    name = re.sub(r"[^\w.\-]", "-", run_id, flags=re.ASCII).lstrip(".")
    if not name:
        raise UserError(f"{run_id!r} is no name for a run: use letters, digits, '.', '_' and '-'.")
    if name != run_id:
        # Another run's id may have come to the same name.
        name += f"-{hashlib.sha256(run_id.encode()).hexdigest()[:6]}"
    return state_folder() / "workspaces" / name


def _committed_params(checkout: Path, commit: str) -> str:
    entry = git(checkout, "ls-tree", commit, "--", str(PARAMS_FILE))
    if not entry.startswith("100"):
        problem = "is a link" if entry else "does not exist"
        raise UserError(f"{PARAMS_FILE} {problem} in commit {commit}; commit the file itself.")
    return git(checkout, "show", f"{commit}:{PARAMS_FILE}")


def _paths(params: str) -> dict[str, str]:
    """The paths of a parameters file by their key."""
    values = {key: value_of(params, key) for key in PATH_KEYS}
    return {key: value for key, value in values.items() if isinstance(value, str)}


def relative_paths(params: str) -> list[Path]:
    """The relative paths of a parameters file, without detours."""
    return [Path(os.path.normpath(path)) for path in _paths(params).values() if not Path(path).is_absolute()]


def _check_paths(checkout: Path, workspace: Path, params: str) -> None:
    for key, path in _paths(params).items():
        with reaching(key):
            found = (workspace / path).exists()
        if not found:
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


def _check_places(folder: Path) -> None:
    """Refuse links where a run in the copy writes: it would write to what they lead to."""
    if not (folder / ".dvc").is_dir():
        raise UserError(f"{folder} lacks the folder .dvc: its commit is not one of this pipeline.")
    settings = (path.relative_to(folder) for path in (folder / ".dvc").iterdir())
    for path in (LOCK, Path(".dvc"), *settings, *OUTPUTS):
        if link := next(links(folder, path), None):
            raise UserError(
                f"{link.relative_to(folder)} is a link, to {link.readlink()}: a run in a copy of the repository would "
                "write there. Put the file or folder itself in its place."
            )
    if os.path.lexists(folder / STATE_LINK):
        raise UserError(f"Git tracks {STATE_LINK}, the state folder: `git rm -r --cached {STATE_LINK}`, and commit.")


def _files_on_disk(checkout: Path) -> Iterator[Path]:
    state = state_folder()
    # A run that is checked out for promotion lies in the state folder itself.
    within = not checkout.is_relative_to(state)
    for name in git(checkout, "ls-files", "-z", "-co", "--exclude-standard").split("\0")[:-1]:
        path = checkout / name
        # Patterns with a slash at the end ignore a folder of outputs, but not a link to one.
        made = Path(name) in (*OUTPUTS, Path(STATE_LINK)) or (within and path.is_relative_to(state))
        # A deleted file is still listed; a nested repository is listed as a folder.
        if (path.is_symlink() or path.is_file()) and not made:
            yield Path(name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink() and not source.resolve().is_relative_to(source.parent):
        target.symlink_to(source.resolve())
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def _write_params(workspace: Path, text: str) -> None:
    """Write ``params.yaml``; overrides alone do not make the workspace differ from its commit."""
    unchanged = not git(workspace, "status", "--porcelain", str(PARAMS_FILE))
    # In place of a link, whose target is the user's.
    write_bytes(workspace / PARAMS_FILE, text.encode())
    if unchanged:
        git(workspace, "update-index", "--assume-unchanged", str(PARAMS_FILE))


def _link(checkout: Path, workspace: Path, path: Path, within: Path) -> bool:
    """Make a path of the workspace show what it shows in the checkout, where git did not bring all of it.

    Returns:
        Whether the path lies within the folder that may hold links.
    """
    target = Path(os.path.normpath(workspace / path))
    if not target.is_relative_to(within):
        return False
    source = checkout / path
    if any(links(within, target.relative_to(within))) or not source.exists() or not _lacks(target, source):
        return True
    if target.is_dir():
        if path.parts[0] in CODE:
            return True
        # Of the clone that was just made; the folder is the same but for what git ignores.
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())
    return True


def _lacks(target: Path, source: Path) -> bool:
    """Whether something that lies at ``source`` is missing at ``target``."""
    if not target.exists() or not source.is_dir():
        return not target.exists()
    return bool({p.name for p in source.iterdir()} - {p.name for p in target.iterdir()} - {"__pycache__"})


def _share(checkout: Path, workspace: Path) -> None:
    """The checkout's DVC settings, cache and, unless the commit has its own, lock file."""
    if not (workspace / LOCK).exists() and (checkout / LOCK).exists():
        shutil.copy2(checkout / LOCK, workspace)
    if (checkout / ".dvc/config.local").exists():
        shutil.copy2(checkout / ".dvc/config.local", workspace / ".dvc")
    cache = (checkout / _dvc(checkout, "cache", "dir").removesuffix("\n")).resolve()
    if not str(cache).isascii():
        # DVC writes its settings in ASCII only: the cache is where it is by default, as a link.
        (workspace / ".dvc/cache").symlink_to(cache)
        cache = Path(".dvc/cache")
    _dvc(workspace, "config", "--local", "cache.dir", str(cache))
    for name, folder in _remote_folders(checkout):
        _dvc(workspace, "remote", "add", "--quiet", "--local", "--force", name, folder)


def _remote_folders(checkout: Path) -> Iterator[tuple[str, str]]:
    """Remotes that are folders, absolute: a path relative to the checkout would be another place in the copy."""
    if not re.search(r"(?m)^\s*\[.*remote", "".join(p.read_text() for p in (checkout / ".dvc").glob("config*"))):
        return
    for line in _dvc(checkout, "config", "--list").splitlines():
        found = re.fullmatch(r"remote\.(.+)\.url=(/.+)", line)
        # DVC lists folders absolute, and writes its settings in ASCII only.
        if found and found[2].isascii():
            yield found[1], found[2]


def _dvc(folder: Path, *arguments: str) -> str:
    done = dvc(folder, *arguments)
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise UserError(f"`dvc {' '.join(arguments)}` failed in {folder}:\n{said}")
    return done.stdout
