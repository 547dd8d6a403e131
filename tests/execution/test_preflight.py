"""What is refused before anything runs."""

import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError, reason
from pipeline.execution.preflight import check_inputs, check_place, check_repository, refuse_outputs_inside
from pipeline.files import MODELS, file_hash, write_json
from pipeline.models.backbones import build_backbone
from pipeline.models.zoo import BACKBONES
from pipeline.params import load_params
from tests.sample_result import write_params
from tests.tiny_project import git


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Checks the committed parameters with some changed, in a folder with raw data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    Path("raw").touch()

    def run(**changes):
        write_params(tmp_path, prepare__root="raw", **changes)
        check_inputs(load_params())

    return run


def test_the_committed_parameters_pass(check):
    check()


@pytest.mark.parametrize("name", BACKBONES)
def test_layers_that_the_backbone_lacks_are_named_before_it_is_trained(check, name):
    with pytest.raises(UserError, match=r"ddt_layers: the backbone has no layer layer9, norm7; it has \w+"):
        check(train__backbone=name, extract_cams__method="ddt", extract_cams__ddt_layers=["layer9@96", "norm7@64"])


def test_layers_are_looked_at_only_where_they_are_read(check):
    check(extract_cams__ddt_layers=["layer9@96"])
    check(extract_cams__method="ddt", train__backbone="mobilenet_v2", extract_cams__ddt_layers=["features.17@96"])


@pytest.mark.parametrize("name", BACKBONES)
def test_a_region_that_is_larger_than_the_map_is_refused_before_anything_runs(check, name):
    changes = {"train__backbone": name, "train__erasing": "rdap", "train__resize": 96, "train__crop": 96}
    check(**changes, train__rdap_size=3)
    with pytest.raises(UserError, match=rf"rdap_size: a square of 9 .* that {name} makes of 96 pixels"):
        check(**changes, train__rdap_size=9)


@pytest.fixture
def weights(check):
    """A file of weights that fit, for ``train.pretrained``."""
    torch.save(build_backbone("squeezenet1_1", 16).state_dict(), "weights.pth")
    return partial(check, train__backbone="squeezenet1_1", train__pretrained="weights.pth")


def test_weights_that_have_changed_since_the_training_need_another_name(weights):
    path = Path("weights.pth")
    weights()
    write_json(MODELS / "training.json", {"weights": {"weights.pth": file_hash(path)}})
    weights(train__pretrained="./weights.pth")
    first = path.read_bytes()
    path.write_bytes(first[:-1])
    with pytest.raises(UserError, match=r"weights\.pth has changed since the model .* give the new file another name"):
        weights(train__pretrained="./weights.pth")
    Path("other.pth").write_bytes(first)
    weights(train__pretrained="other.pth")
    weights(train__pretrained=False)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", None], ids=["empty", "text", "half", "directory"])
def test_weights_that_cannot_be_read_are_named_before_anything_runs(weights, content):
    path = Path("weights.pth")
    path.unlink()
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=r"^train\.pretrained: .*weights\.pth (is not a readable|does not exist)"):
        weights()


def test_weights_of_another_network_are_named_before_anything_runs(weights):
    with pytest.raises(UserError, match=r"train\.pretrained: weights\.pth does not fit mobilenet_v2"):
        weights(train__backbone="mobilenet_v2")


def test_an_exception_without_text_is_known_by_its_type():
    assert [reason(error) for error in (EOFError(), ValueError("\n a\nb"))] == ["EOFError", "a"]


def test_a_part_of_a_larger_repository_is_refused(check, tmp_path):
    """Workspaces are copies of whole repositories."""
    git(tmp_path.parent, "init", "--quiet", str(tmp_path))
    git(tmp_path, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-m", "first")
    check()
    (tmp_path / "part").mkdir()
    with pytest.raises(UserError, match=rf"{tmp_path}/part is a folder of the repository {tmp_path}\. .*git init"):
        check_repository(tmp_path / "part")


def test_a_repository_without_a_commit_is_refused(check, tmp_path):
    git(tmp_path.parent, "init", "--quiet", str(tmp_path))
    with pytest.raises(UserError, match=r"nothing was committed yet in .*git commit"):
        check()


@pytest.mark.parametrize("root", [".", ".git", "..", "models/raw"])
def test_raw_data_apart_from_what_the_pipeline_writes(tmp_path, root):
    with pytest.raises(UserError, match=r"^prepare\.root: .* (holds|lies in) "):
        refuse_outputs_inside(Path(root), tmp_path)


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\x7fb", "a\udcffb", "a\u2028b", "a{b", "a}b"])
def test_paths_with_characters_that_tools_cannot_take_are_refused(name):
    with pytest.raises(UserError, match=r"cannot be used; rename that folder"):
        check_place(Path("/fine"), Path("/home") / name)


def test_an_interpreter_that_cannot_stand_in_the_path_is_refused(monkeypatch):
    check_place(Path("/home/a:b/ü 100% ?#"))
    monkeypatch.setattr(sys, "executable", "/home/a:b/.venv/bin/python")
    with pytest.raises(UserError, match="cannot stand in PATH"):
        check_place(Path("/fine"))


@pytest.mark.parametrize("name", ["100% b", "a?b"])
def test_a_state_folder_that_mlflow_cannot_name_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / name))
    with pytest.raises(UserError, match=r"name another by WSOL_STATE"):
        check_place(tmp_path)
    monkeypatch.setenv("WSOL_STATE", str(tmp_path))
    check_place(tmp_path / name)
