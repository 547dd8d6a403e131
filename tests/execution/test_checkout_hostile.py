"""Runs whose record was made to reach out of the folder they are checked out into."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from mlflow import MlflowClient

from pipeline.errors import UserError
from pipeline.execution import checkout
from pipeline.execution.checkout import checkout_run
from pipeline.tracking.registry import download
from pipeline.tracking.server import experiment_id
from pipeline.tracking.tags import RUN_KEY
from tests.tiny_project import commit, git, make_project

HASH = "0123456789abcdef" * 2
OUT = {"path": "models/model.pt", "hash": "md5", "md5": HASH, "size": 1}


@pytest.fixture
def project(tmp_path, monkeypatch, state):
    """A checkout, which is the current folder, beside a folder of raw data."""
    folder = make_project(tmp_path / "home/project")
    (tmp_path / "home/data/raw").mkdir(parents=True)
    (tmp_path / "home/data/raw/image.jpg").touch()
    (tmp_path / "home/data/more").mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def record(project, tmp_path):
    """Tracks a run as whoever may write to the server can."""

    def run(params=None, outs=(OUT,), patch=None, **tags):
        client = MlflowClient(f"sqlite:///{tmp_path}/state/mlflow.db")
        tags = {RUN_KEY: "k", "wsol.git_commit": git(project, "rev-parse", "HEAD").strip()} | tags
        run_id = client.create_run(experiment_id(client, "wsol"), tags=tags).info.run_id
        tree = yaml.safe_load((project / "params.yaml").read_text())
        for key, value in (params or {}).items():
            tree[key.partition(".")[0]][key.partition(".")[2]] = value
        client.log_text(run_id, yaml.safe_dump(tree), "provenance/params.yaml")
        lock = {"schema": "2.0", "stages": {"train": {"cmd": "python work.py", "outs": list(outs)}}}
        client.log_text(run_id, yaml.safe_dump(lock), "provenance/dvc.lock")
        if patch is not None:
            client.set_tag(run_id, "wsol.dirty", tags.get("wsol.dirty", "true"))
            client.log_text(run_id, patch, "provenance/uncommitted.patch")
        return run_id

    return run


def everything(folder):
    """All that lies below a folder, but for DVC's own notes."""
    found = {}
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in ("tmp", "state", "__pycache__")]
        for path in (Path(base) / name for name in [*names, *folders]):
            found[path] = path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes()
    return found


def test_data_outside_of_the_folder_is_neither_removed_nor_linked(record, tmp_path, capfd):
    (tmp_path / "out/data").mkdir(parents=True)
    (tmp_path / "out/data/mine").touch()
    before = everything(tmp_path / "home")
    checkout_run(record({"prepare.root": "../data"}), tmp_path / "out/run")
    assert [path.name for path in (tmp_path / "out/data").iterdir()] == ["mine"]
    assert not (tmp_path / "out/data").is_symlink()
    assert "they must lie, or be linked, there" in capfd.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["data", "run"]
    assert everything(tmp_path / "home") == before


@pytest.mark.parametrize("key", ["prepare.root", "train.pretrained"])
@pytest.mark.parametrize("path", [".", "..", "../..", ".git", ".git/hooks", ".dvc", "models", "../project/models/x"])
def test_a_path_that_holds_the_repository_or_lies_in_it_is_refused(record, tmp_path, key, path):
    before = everything(tmp_path / "home")
    with pytest.raises(UserError, match=r"holds|lies in"):
        checkout_run(record({key: path}), tmp_path / "new/out")
    assert everything(tmp_path / "home") == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ({"path": "../x"}, "'../x', which does not lie in the run's folder"),
        ({"path": "a/../../x"}, "does not lie"),
        ({"path": "/etc/x"}, "does not lie"),
        ({"path": ""}, "does not lie"),
        ({"md5": "../../../../etc/passwd"}, r"dvc\.lock of run \w+ is damaged: stages\.train\.outs\.0\.md5"),
        ({"md5": HASH + "/x"}, r"dvc\.lock of run \w+ is damaged: stages\.train\.outs\.0\.md5"),
        ({"files": [{"relpath": "../../x", "md5": HASH}]}, "dvc.lock says files of stage train"),
        ({"cloud": {"s": {"etag": "x"}}}, "dvc.lock says cloud"),
    ],
)
def test_an_output_that_lies_elsewhere_is_refused(record, tmp_path, out, message):
    with pytest.raises(UserError, match=message):
        checkout_run(record(outs=[OUT | out]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tag", ["--upload-pack=touch x", "-h", "HEAD", "master", "abc123", "0" * 39, "0" * 40 + "\n"])
def test_a_commit_that_is_not_a_hash_is_refused(record, tmp_path, tag):
    with pytest.raises(UserError, match="not a commit hash"):
        checkout_run(record(**{"wsol.git_commit": tag}), tmp_path / "out")


@pytest.mark.parametrize("name", ["../../x", "/x", "-x", "a b", "", ".", "é" * 32])
def test_an_id_that_is_not_one_is_refused_before_the_server_is_asked(project, name):
    with pytest.raises(UserError, match="is not the id of an MLflow run"):
        checkout_run(name, project.parent / "out")


def new_file(path):
    return (
        f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n"
        "\\ No newline at end of file\n"
    )


@pytest.mark.parametrize(
    "path", ["../x", ".git/hooks/post-checkout", ".dvc/config.local", "yaml.py", ".venv/bin/python"]
)
def test_a_patch_changes_sources_and_nothing_else(record, tmp_path, path):
    folder = tmp_path / "new/out"
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match=r"apply.* failed|patch changes"):
        checkout_run(record(patch=new_file(path)), folder)
    assert not list(folder.iterdir())
    assert [item.name for item in (tmp_path / "new").iterdir()] == ["out"]


def test_a_patch_that_makes_a_link_is_refused(record, tmp_path):
    patch = new_file("pipeline/val").replace("100644", "120000").replace("+x", f"+{tmp_path / 'home'}")
    with pytest.raises(UserError, match=r"makes a link of pipeline/val"):
        checkout_run(record(patch=patch), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"cmd": "x", "wdir": "data/raw/set", "outs": ["images"]}, "says wdir of stage images"),
        ({"cmd": "x", "foreach": ["a"], "do": {"cmd": "x"}}, "says do, foreach of stage images"),
        ({"cmd": "x", "outs": ["data/raw/set/images"]}, "a stage of the name of another's output, images"),
        ({"cmd": "x", "outs": ["../x"]}, "does not lie in the run's folder"),
        ({"cmd": "x", "outs": ["pipeline"]}, "makes pipeline an output"),
    ],
)
def test_a_record_cannot_make_dvc_remove_the_users_data(record, project, tmp_path, stage, message):
    (project / "data/raw/set/images").mkdir(parents=True)
    (project / "data/raw/set/images/mine.jpg").touch()
    (project / ".gitignore").write_text((project / ".gitignore").read_text() + "/data/raw/set\n")
    head = commit(project)
    text = (project / "dvc.yaml").read_text()
    tree = yaml.safe_load(text)
    named = "images" if "name" in message or "stage images" in message else "other"
    tree["stages"][named] = stage
    (project / "dvc.yaml").write_text(yaml.safe_dump(tree))
    patch = git(project, "diff")
    (project / "dvc.yaml").write_text(text)
    before = everything(tmp_path / "home")
    out = {"path": "images", "hash": "md5", "md5": HASH + ".dir", "size": 1, "nfiles": 1}
    run_id = record({"prepare.root": "data/raw/set"}, outs=[out], patch=patch, **{"wsol.git_commit": head})
    with pytest.raises(UserError, match=message):
        checkout_run(run_id, tmp_path / "new/out")
    assert everything(tmp_path / "home") == before
    assert not (tmp_path / "new").exists()


def test_a_patch_that_was_committed_since_is_not_applied_again(record, tmp_path):
    answer = checkout_run(record(patch=new_file("pipeline/x.py"), **{"wsol.dirty": "false"}), tmp_path / "out")
    assert answer["patched"] is False


def test_a_link_to_params_is_replaced_and_not_written_through(record, project, tmp_path):
    (tmp_path / "precious").write_text("mine")
    (project / "params.yaml").rename(tmp_path / "params")
    (project / "params.yaml").symlink_to(tmp_path / "precious")
    linked = commit(project)
    (project / "params.yaml").unlink()
    (tmp_path / "params").rename(project / "params.yaml")
    answer = checkout_run(record({"train.epochs": 77}, **{"wsol.git_commit": linked}), tmp_path / "out")
    assert (tmp_path / "precious").read_text() == "mine"
    assert yaml.safe_load((tmp_path / "out/params.yaml").read_text())["train"]["epochs"] == 77
    assert answer["missing"] == ["models/model.pt"]


@pytest.mark.parametrize("name", ["data", "models", "dvc.lock", ".dvc/config.local", ".dvc/tmp"])
def test_a_link_in_the_revision_where_the_pipeline_writes_is_refused(record, project, tmp_path, name):
    (tmp_path / "precious").mkdir()
    if (project / name).is_dir():
        shutil.rmtree(project / name)
    (project / name).symlink_to(tmp_path / "precious")
    git(project, "add", "--force", name)
    linked = commit(project)
    (project / name).unlink()
    with pytest.raises(UserError, match="is a link, to"):
        checkout_run(record(**{"wsol.git_commit": linked}), tmp_path / "new/out")
    assert not (tmp_path / "new").exists()
    assert not list((tmp_path / "precious").iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_fault_of_this_machine_is_not_the_servers(record, tmp_path, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number), "/some/file")

    monkeypatch.setattr(checkout, "clone", fail)
    with pytest.raises(UserError, match=rf"cannot hand the run out: /some/file: {os.strerror(number)}") as caught:
        checkout_run(record(), tmp_path / "out")
    assert "answer" not in str(caught.value)


@pytest.mark.parametrize("answer", ["../elsewhere", "link"])
def test_an_artifact_that_was_put_elsewhere_is_not_read(tmp_path, answer):
    (tmp_path / "elsewhere").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/link").symlink_to(tmp_path / "elsewhere")
    client = SimpleNamespace(download_artifacts=lambda _run, _path, folder: f"{folder}/{answer}")
    with pytest.raises(UserError, match="was not downloaded into"):
        download(client, "r", "x", tmp_path / "folder")
