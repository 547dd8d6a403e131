"""Workspaces of a small project: what is in them, what they share, and that the checkout never changes."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from pipeline.errors import TransientError, UserError
from pipeline.execution.workspace import create_workspace, fetches_weights, remove_workspace
from pipeline.system.locks import REPRO_LOCK, STAGE_LOCK, exclusive_lock
from pipeline.tracking.provenance import uncommitted_changes
from tests.tiny_project import commit, git, make_project, pipeline


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A checkout two folders deep, which is the current folder."""
    folder = make_project(tmp_path / "home" / "user" / "project")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("WSOL_STATE", raising=False)
    return folder


def content(folder: Path) -> dict[str, str]:
    """Every file of a checkout but the state folder and DVC's cache, links by their target."""
    files = {}
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in (".wsol", ".git", "__pycache__", "cache", "tmp")]
        for name in [*names, *(name for name in folders if (Path(base) / name).is_symlink())]:
            path = Path(base) / name
            data = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
            files[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return files


def test_a_snapshot_is_the_working_tree_as_it_is_on_disk(project):
    (project / "work.py").write_text("changed")
    (project / "new.txt").write_text("untracked")
    (project / "models").mkdir()
    (project / "models/model.pt").write_text("ignored")
    (project / "dags/wsol_retrain.py").unlink()
    before = content(project)
    workspace = create_workspace("r", {})
    assert (workspace / "work.py").read_text() == "changed"
    assert (workspace / "new.txt").read_text() == "untracked"
    assert not (workspace / "models").exists()
    assert not (workspace / "dags/wsol_retrain.py").exists()
    assert git(workspace, "status", "--porcelain").split("\n")[:-1] == [
        " D dags/wsol_retrain.py",
        " M work.py",
        "?? new.txt",
    ]
    assert git(workspace, "rev-parse", "HEAD") == git(project, "rev-parse", "HEAD")
    assert content(project) == before


def test_overrides_go_into_the_workspace_alone_and_keep_comments(project):
    text = (project / "params.yaml").read_text()
    workspace = create_workspace("r", {"train.lambda": 0.5})
    theirs = (workspace / "params.yaml").read_text()
    assert yaml.safe_load(theirs)["train"]["lambda"] == 0.5
    assert theirs.count("#") == text.count("#")
    assert (project / "params.yaml").read_text() == text


@pytest.mark.parametrize("edited", [False, True])
def test_overrides_alone_do_not_make_a_result_dirty(project, monkeypatch, edited):
    if edited:
        (project / "params.yaml").write_text((project / "params.yaml").read_text().replace("  epochs: ", "  epochs: 1"))
    workspace = create_workspace("r", {"train.lambda": 0.5})
    assert git(workspace, "status", "--porcelain") == (" M params.yaml\n" if edited else "")
    monkeypatch.chdir(workspace)
    assert bool(uncommitted_changes()) is edited


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train.lamda": 1}, r"^train\.lamda: unknown key; did you mean train\.lambda"),
        ({"prepare.root": "nowhere/raw"}, r"^prepare\.root: /.*/project/nowhere/raw does not exist"),
        ({"prepare.root": "/nowhere/raw"}, r"^prepare\.root: /nowhere/raw does not exist"),
        ({"train.pretrained": "nowhere.pth"}, r"^train\.pretrained: /.*/project/nowhere\.pth does not exist"),
    ],
)
@pytest.mark.parametrize("revision", [None, "HEAD"])
def test_a_wrong_override_is_named_and_leaves_nothing_behind(project, overrides, message, revision):
    with pytest.raises(UserError, match=message):
        create_workspace("r", overrides, revision)
    assert not list((project / ".wsol").glob("workspaces/*"))


def test_a_wrong_value_is_named_as_the_user_gave_it(project):
    message = r"^params\.yaml with train\.lambda=much, seed=1 is not valid:\n  train\.lambda: .* found 'much'"
    with pytest.raises(UserError, match=message):
        create_workspace("r", {"train.lambda": "much", "seed": 1})
    assert not list((project / ".wsol").glob("workspaces/*"))


def test_other_parameters_replace_those_of_the_checkout(project):
    text = "# a preset\n" + (project / "params.yaml").read_text()
    workspace = create_workspace("r", {"seed": 7}, params=text)
    theirs = (workspace / "params.yaml").read_text()
    assert theirs.startswith("# a preset\n")
    assert yaml.safe_load(theirs) == yaml.safe_load(text) | {"seed": 7}


def test_a_revision_is_cloned_without_what_is_on_disk(project):
    first = git(project, "rev-parse", "HEAD").strip()
    (project / "work.py").write_text("second")
    commit(project)
    (project / "work.py").write_text("third")
    workspace = create_workspace("r", {"seed": 7}, revision=first)
    assert git(workspace, "rev-parse", "HEAD").strip() == first
    assert "load_params" in (workspace / "work.py").read_text()
    assert yaml.safe_load((workspace / "params.yaml").read_text())["seed"] == 7


def test_an_unknown_revision_is_an_error(project):
    with pytest.raises(UserError, match="nonsense"):
        create_workspace("r", {}, revision="nonsense")


def test_a_folder_without_git_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="not a git repository"):
        create_workspace("r", {})


@pytest.mark.parametrize(
    ("text", "real"),
    [
        ("../raw", "home/user/raw"),
        ("../../raw", "home/raw"),
        ("../../../raw/deep/set", "raw/deep/set"),
        ("data/raw/set", "home/user/project/data/raw/set"),
        ("../project/data/raw/set", "home/user/project/data/raw/set"),
        ("data/raw", "home/user/project/data/raw"),
    ],
)
def test_a_path_means_the_same_in_the_workspace(project, tmp_path, text, real):
    (tmp_path / real).mkdir(parents=True)
    (tmp_path / real / "file").write_text("raw")
    before = content(project)
    workspace = create_workspace("r", {"prepare.root": text})
    assert yaml.safe_load((workspace / "params.yaml").read_text())["prepare"]["root"] == text
    assert (workspace / text / "file").read_text() == "raw"
    assert content(project) == before


def test_a_relative_path_of_weights_is_linked_too(project):
    (project / "data/raw").mkdir(parents=True)
    (project / "data/raw/weights.pth").write_text("w")
    workspace = create_workspace("r", {"train.pretrained": "data/raw/weights.pth"})
    assert (workspace / "data/raw/weights.pth").resolve() == project / "data/raw/weights.pth"


def test_a_path_that_climbs_too_high_is_refused(project):
    with pytest.raises(UserError, match="absolute path, or as a link under data/raw"):
        create_workspace("r", {"prepare.root": "../" * 40 + "raw"})


def test_cache_lock_file_and_state_folder_are_shared(project):
    assert pipeline(project, "repro").returncode == 0
    workspace = create_workspace("r", {})
    assert (workspace / "dvc.lock").read_bytes() == (project / "dvc.lock").read_bytes()
    (project / "models/model.pt").unlink()
    done = pipeline(workspace, "repro", "train")
    assert done.returncode == 0, done.stderr
    assert "python work.py" not in done.stdout, "the result comes from the cache"
    assert (workspace / "models/model.pt").read_text() == "0.0001"
    assert (workspace / ".wsol").resolve() == project / ".wsol"


def test_the_users_dvc_settings_hold_in_the_workspace(project, tmp_path):
    settings = f"[cache]\n    dir = {tmp_path / 'store'}\n['remote \"backup\"']\n    url = /backup\n"
    (project / ".dvc/config.local").write_text(settings)
    workspace = create_workspace("r", {})
    assert pipeline(workspace, "repro").returncode == 0
    assert list((tmp_path / "store/files/md5").iterdir())
    assert "/backup" in (workspace / ".dvc/config.local").read_text()
    assert (project / ".dvc/config.local").read_text() == settings


def test_removing_keeps_the_record_and_what_is_linked(project):
    (project / "data/raw/set").mkdir(parents=True)
    (project / "data/raw/set/file").write_text("raw")
    workspace = create_workspace("manual__2026-01-01T00:00:00+00:00", {"prepare.root": "data/raw/set"})
    assert pipeline(workspace, "repro").returncode == 0
    params, lock = (workspace / "params.yaml").read_text(), (workspace / "dvc.lock").read_text()
    record = remove_workspace("manual__2026-01-01T00:00:00+00:00")
    assert record.parent == project / ".wsol/runs"
    assert record.name.startswith("manual__2026-01-01T00-00-00-00-00-")
    assert (record / "params.yaml").read_text() == params
    assert (record / "dvc.lock").read_text() == lock
    assert not workspace.exists()
    assert (project / "data/raw/set/file").read_text() == "raw"


@pytest.mark.parametrize("name", [REPRO_LOCK, STAGE_LOCK])
def test_removing_waits_for_a_command_that_is_ending_and_takes_nothing_from_one_at_work(project, monkeypatch, name):
    workspace = create_workspace("ended", {})
    monkeypatch.setattr("pipeline.execution.workspace.PATIENCE", 0.5)
    with exclusive_lock(workspace / name, "a test"):
        before = sorted(workspace.rglob("*"))
        with pytest.raises(TransientError, match=r"a command in .*workspaces/ended"):
            remove_workspace("ended")
        assert sorted(workspace.rglob("*")) == before
    monkeypatch.setattr("pipeline.execution.workspace.PATIENCE", 30.0)
    holder = exclusive_lock(workspace / name, "a test")
    holder.__enter__()
    threading.Timer(1.0, holder.__exit__, (None, None, None)).start()
    remove_workspace("ended")
    assert not workspace.exists()


def test_removing_what_does_not_exist_is_an_error(project):
    with pytest.raises(UserError, match="holds no workspace"):
        remove_workspace("nothing")


def test_a_workspace_of_an_earlier_try_is_replaced(project):
    (create_workspace("r", {}) / "left").write_text("over")
    assert not (create_workspace("r", {}) / "left").exists()


def test_a_state_folder_elsewhere_is_used(project, tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    workspace = create_workspace("r", {})
    assert workspace == tmp_path / "state/workspaces/r/project"
    assert not (project / ".wsol").exists()


@pytest.mark.parametrize(("pretrained", "fetches"), [(True, True), (False, False), ("weights.pth", False)])
def test_it_is_known_whether_a_training_downloads_weights(tmp_path, pretrained, fetches):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"train": {"pretrained": pretrained}}))
    assert fetches_weights(tmp_path) == fetches


def test_the_command_line_says_where_it_lies(project):
    done = pipeline(
        project, "workspace", "create", "r", "--set", "train.lambda=1e-2", "--set", "localize.threshold=0.3"
    )
    assert json.loads(done.stdout) == {"workspace": f"{project}/.wsol/workspaces/r/project", "fetches_weights": False}
    params = yaml.safe_load((project / ".wsol/workspaces/r/project/params.yaml").read_text())
    assert (params["train"]["lambda"], params["localize"]["threshold"]) == (0.01, 0.3)
    assert pipeline(project, "workspace", "remove", "r").stdout == f'{{"record": "{project}/.wsol/runs/r"}}\n'


def test_params_that_are_a_link_are_not_written_through(project, tmp_path):
    (project / "params.yaml").rename(tmp_path / "shared.yaml")
    (project / "params.yaml").symlink_to(tmp_path / "shared.yaml")
    text = (tmp_path / "shared.yaml").read_text()
    workspace = create_workspace("r", {"seed": 7})
    assert yaml.safe_load((workspace / "params.yaml").read_text())["seed"] == 7
    assert (tmp_path / "shared.yaml").read_text() == text
    commit(project)
    with pytest.raises(UserError, match=r"params\.yaml is a link in commit \w{40}"):
        create_workspace("r", {}, revision="HEAD")


def test_outputs_that_are_links_stay_the_checkouts_alone(project, tmp_path):
    (tmp_path / "disk").mkdir()
    (project / "models").symlink_to(tmp_path / "disk")
    assert not (create_workspace("r", {}) / "models").exists()


@pytest.mark.parametrize("name", ["data", "dvc.lock", ".dvc/plots"])
def test_links_where_a_run_writes_are_refused(project, tmp_path, name):
    (tmp_path / "disk").mkdir()
    if (project / name).is_dir():
        shutil.rmtree(project / name)
    (project / name).symlink_to(tmp_path / "disk")
    git(project, "add", "--force", name)
    with pytest.raises(UserError, match=rf"^{name} is a link, to {tmp_path}/disk"):
        create_workspace("r", {})
    assert not list(project.glob(".wsol/workspaces/*"))


def test_a_tracked_state_folder_is_refused(project, tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    (project / ".wsol").mkdir()
    (project / ".wsol/file").touch()
    git(project, "add", "--force", ".wsol")
    with pytest.raises(UserError, match=r"Git tracks \.wsol"):
        create_workspace("r", {}, revision=commit(project))


def test_a_link_in_the_revision_that_leads_to_the_data_is_not_emptied(project, tmp_path):
    """What lies behind it is not the workspace's."""
    (tmp_path / "disk/set").mkdir(parents=True)
    (project / "sets").symlink_to(tmp_path / "disk")
    commit(project)
    (project / "sets").unlink()
    (project / "sets/set").mkdir(parents=True)
    (project / "sets/set/more").touch()
    create_workspace("r", {"prepare.root": "sets/set"}, revision="HEAD")
    assert (tmp_path / "disk/set").is_dir()
    assert not (tmp_path / "disk/set").is_symlink()


@pytest.mark.parametrize("path", [".", ".git", ".dvc", "models", "../project"])
def test_a_path_that_holds_the_repository_is_refused(project, path):
    (project / "models").mkdir()
    with pytest.raises(UserError, match=r"holds|lies in"):
        create_workspace("r", {"prepare.root": path})
    assert not list(project.glob(".wsol/workspaces/*"))


def test_a_part_of_a_larger_repository_is_refused_in_words(tmp_path, monkeypatch):
    top = make_project(tmp_path / "top")
    monkeypatch.chdir(top / "pipeline")
    with pytest.raises(UserError, match="pipeline is a folder of the repository"):
        create_workspace("r", {})


def test_file_names_that_are_no_text_are_copied(project):
    path = Path(os.fsdecode(os.fsencode(str(project)) + b"/caf\xe9\n.txt"))
    path.touch()
    assert path.name in [file.name for file in create_workspace("r", {}).iterdir()]


def test_a_project_works_in_a_folder_of_any_name(tmp_path, monkeypatch):
    """Its cache, which the workspace shares, is known by that name too."""
    project = make_project(tmp_path / '100% b$X;ü it\'s "q"&#?:[x] `z` \\ *~ ')
    monkeypatch.chdir(project)
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "st ü#"))
    assert pipeline(project, "repro", "train").returncode == 0
    workspace = create_workspace("r", {}, revision="HEAD")
    done = pipeline(workspace, "repro", "train")
    assert (done.returncode, "python work.py" in done.stdout) == (0, False), "the result comes from the cache"
    assert (workspace / "models/model.pt").read_text() == "0.0001"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([project.name, "st ü#"])


def test_a_remote_beside_the_checkout_is_the_same_one_in_a_workspace(project):
    run_dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*run_dvc, "remote", "add", "--quiet", "--default", "store", "../store"], check=True)
    subprocess.run([*run_dvc, "remote", "add", "--quiet", "bucket", "s3://bucket/path"], check=True)
    commit(project)
    workspace = create_workspace("r", {})
    # Not `remote list`, which breaks long paths.
    listed = subprocess.run(
        [*run_dvc, "config", "--list"], cwd=workspace, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert f"remote.store.url={project.parent / 'store'}" in listed
    assert "remote.bucket.url=s3://bucket/path" in listed


def test_weights_in_the_state_folder_are_there_in_a_workspace(project):
    (project / ".wsol").mkdir(exist_ok=True)
    (project / ".wsol/weights.pth").write_bytes(b"w")
    workspace = create_workspace("r", {"train.pretrained": ".wsol/weights.pth"})
    assert (workspace / ".wsol/weights.pth").read_bytes() == b"w"


def test_a_patch_can_be_applied_whatever_the_user_has_set_for_reading(project):
    for name, value in (("diff.noprefix", "true"), ("diff.context", "0"), ("diff.mnemonicPrefix", "true")):
        git(project, "config", name, value)
    (project / "pipeline/errors.py").write_text((project / "pipeline/errors.py").read_text() + "# changed\n")
    patch = uncommitted_changes()
    git(project, "checkout", "pipeline")
    (project / "changes.patch").write_bytes(patch)
    git(project, "apply", "changes.patch")
    assert (project / "pipeline/errors.py").read_text().endswith("# changed\n")


def test_a_checkout_in_the_state_folder_is_copied_like_any_other(tmp_path, monkeypatch):
    folder = make_project(tmp_path / "state/checkouts/project")
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(folder)
    workspace = create_workspace("r", {})
    assert (workspace / "work.py").read_text() == (folder / "work.py").read_text()
