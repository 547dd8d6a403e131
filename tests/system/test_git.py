"""Git's refusals in words, and revisions that look like something else."""

import pytest

from pipeline.system.git import GitError, commit_of, git, head, source_commit, toplevel
from tests.tiny_project import git as run


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "a folder\n with ü and a blank "
    folder.mkdir()
    run(folder, "init", "--quiet")
    return folder


def make_commit(folder):
    run(folder, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-m", "first")
    return run(folder, "rev-parse", "HEAD").strip()


def test_the_checkout_is_found_whatever_its_name(repository):
    (repository / "below").mkdir()
    assert toplevel(repository / "below") == repository


def test_a_repository_without_a_commit_has_no_head(repository):
    assert head(repository) == ""
    assert head(repository) != make_commit(repository) == head(repository)


@pytest.mark.parametrize("name", ["--upload-pack=touch x", "-h", "nonsense", "HEAD:file", ""])
def test_what_names_no_commit_is_refused(repository, name):
    make_commit(repository)
    with pytest.raises(GitError, match="rev-parse"):
        commit_of(repository, name)


def test_a_refusal_is_said(repository, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(GitError, match="dubious ownership"):
        head(repository)


def test_a_machine_without_git_is_named(repository, monkeypatch):
    monkeypatch.setenv("PATH", str(repository))
    with pytest.raises(GitError, match=r"git is not on PATH\. Install it"):
        git(repository, "status")


def test_the_commit_of_the_source_says_when_it_was_changed(repository, tmp_path, monkeypatch):
    assert source_commit(repository, ".") == ""
    make_commit(repository)
    commit = head(repository)
    assert source_commit(repository, ".") == commit
    (repository / "new").write_text("x")
    assert source_commit(repository, ".") == f"{commit}+"
    assert source_commit(repository, "elsewhere") == commit
    (tmp_path / "plain").mkdir()
    assert source_commit(tmp_path / "plain", ".") == ""
    monkeypatch.setenv("PATH", "")
    assert source_commit(repository, ".") == ""
