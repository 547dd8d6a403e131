"""What is refused before anything runs."""

from pathlib import Path

import pytest

from pipeline.backbones import BACKBONES
from pipeline.errors import UserError
from pipeline.files import MODELS, file_hash, write_json
from pipeline.params import load_params
from pipeline.preflight import check_inputs
from tests.sample_result import write_params


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


def test_weights_that_have_changed_since_the_training_need_another_name(check):
    weights = Path("weights.pth")
    weights.write_text("first")
    check(train__pretrained="weights.pth")
    write_json(MODELS / "training.json", {"weights": {"weights.pth": file_hash(weights)}})
    check(train__pretrained="./weights.pth")
    weights.write_text("second")
    with pytest.raises(UserError, match=r"weights\.pth has changed since the model .* give the new file another name"):
        check(train__pretrained="./weights.pth")
    weights.rename("other.pth")
    check(train__pretrained="other.pth")
    check(train__pretrained=False)
