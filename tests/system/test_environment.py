"""What children inherit, and that Git and DVC are started in one place each."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.system.environment import OF_A_REPOSITORY, environment
from tests.tiny_project import commit, git, make_project

PIPELINE = Path(__file__).parents[2] / "pipeline"
CLEAN = {name: value for name, value in os.environ.items() if name not in OF_A_REPOSITORY}


def test_all_that_git_ties_to_a_repository_stays_behind(monkeypatch):
    local = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True)
    names = [*local.stdout.split(), "GIT_QUARANTINE_PATH", "DVC_ROOT", "DVC_STAGE"]
    for name in names:
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "kept")
    assert not set(names) & set(environment())
    assert environment()["GIT_AUTHOR_NAME"] == "kept"


def test_python_is_this_interpreter(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert environment()["PATH"] == f"{Path(sys.executable).parent}:/usr/bin:/bin"


@pytest.mark.parametrize("path", sorted(PIPELINE.rglob("*.py")), ids=lambda path: str(path.relative_to(PIPELINE)))
def test_git_and_dvc_are_started_in_one_place_each(path):
    for node in ast.walk(ast.parse(path.read_text())):
        words = [item.value for item in getattr(node, "elts", []) if isinstance(item, ast.Constant)]
        assert "git" not in words[:1] or path.match("pipeline/system/git.py")
        assert "dvc" not in words or path.match("pipeline/system/dvc.py")


@pytest.fixture
def project(tmp_path):
    """A checkout whose hooks lie beside it."""
    folder = make_project(tmp_path / "project")
    git(folder, "config", "core.hooksPath", str(tmp_path / "hooks"))
    git(folder, "config", "user.name", "t")
    git(folder, "config", "user.email", "t@t")
    (tmp_path / "hooks").mkdir()
    return folder


def hook(project, name, *arguments):
    """A hook that makes a workspace."""
    path = project.parent / "hooks" / name
    path.write_text(f"#!/bin/sh\nexec {sys.executable} -m pipeline workspace create hk {' '.join(arguments)} >&2\n")
    path.chmod(0o755)


def run_git(folder, *arguments):
    done = subprocess.run(["git", *arguments], cwd=folder, env=CLEAN, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_hook_of_a_linked_worktree_that_makes_a_workspace_leaves_the_repository_alone(project):
    """Git tells hooks of a linked worktree where the repository is."""
    tree = project.parent / "tree"
    git(project, "worktree", "add", "-q", "-b", "other", str(tree))
    hook(project, "post-commit", "--revision", "other~1")
    for name in ("note.txt", "staged.txt"):
        (tree / name).write_text(name)
    run_git(tree, "add", "note.txt", "staged.txt")
    run_git(tree, "commit", "-q", "-m", "note", "note.txt")
    assert run_git(tree, "symbolic-ref", "HEAD") == "refs/heads/other\n"
    assert run_git(tree, "status", "--porcelain") == "A  staged.txt\n"
    assert [line[0] for line in run_git(tree, "ls-files", "-v").splitlines() if line[0].islower()] == []
    assert (tree / ".wsol/workspaces/hk/.checkout/params.yaml").is_file()


def test_a_hook_before_a_commit_that_makes_a_workspace_leaves_the_commit_alone(project):
    """`git commit -a` tells its hooks to use an index of its own."""
    (project / "file").write_text("1")
    commit(project)
    hook(project, "pre-commit")
    (project / "file").write_text("2")
    run_git(project, "commit", "-q", "-a", "-m", "second")
    assert run_git(project, "show", "--format=", "--name-only", "HEAD") == "file\n"
    assert run_git(project, "status", "--porcelain") == ""
    assert (project / ".wsol/workspaces/hk/.checkout/params.yaml").is_file()
