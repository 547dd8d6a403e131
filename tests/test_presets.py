"""Each preset has the values that its paper states; what a paper leaves open is not held here."""

import re
from typing import Any

import pytest

from pipeline.errors import ParamsError
from pipeline.params import flatten, load_params, parse_params
from pipeline.presets import preset_names, preset_text, title, write_params
from pipeline.strict_yaml import read_yaml
from tests.project import ROOT

SGD = {"train.optimizer": "sgd", "train.momentum": 0.9}
PLAIN = {"train.regularizer": "none", "train.erasing": "none", "extract_cams.method": "cam",
         "extract_cams.clamp_negative_weights": False, "extract_cams.ten_crop": False,
         "localize.standard": "max"}  # fmt: skip
IMAGENET = {"train.pretrained": True, "train.resize": 256, "train.crop": 224, "train.stride": 16}
#: Choe et al., CVPR 2020: five methods on one footing.
BENCHMARK = IMAGENET | SGD | PLAIN | {
    "train.backbone": "resnet50", "train.batch_size": 32, "train.epochs": 50, "train.head_lr_factor": 10.0,
    "train.schedule": "step", "train.step_epochs": [15, 30, 45], "train.step_factor": 0.1, "train.warm_up": 0.0,
    "train.head": "gap", "train.select": "last", "localize.threshold": "auto",
}  # fmt: skip
#: Preset → values by dotted key.
PAPERS: dict[str, dict[str, Any]] = {
    # Zhou et al., CVPR 2016
    "cam_cvpr2016": IMAGENET | PLAIN | {
        "train.backbone": "googlenet", "train.head": "gap", "localize.threshold": 0.2,
    },
    # Zhang et al., CVPR 2018
    "acol_cvpr2018": IMAGENET | SGD | PLAIN | {
        "train.backbone": "vgg16", "train.head": "acol", "train.acol_threshold": 0.6, "train.acol_width": 1024,
        "train.weight_decay": 0.0005, "train.lr": 0.0001, "train.batch_size": 20, "train.epochs": 60,
        "train.head_lr_factor": 10.0, "train.bias_lr_factor": 2.0, "extract_cams.acol_map": "fused",
        "extract_cams.ten_crop": True,
    },
    # Hwang et al., PRL 2023
    "entropy_prl2023": IMAGENET | PLAIN | {
        "train.backbone": "se_resnet50", "train.head": "gap", "train.regularizer": "kl_uniform",
        "train.lambda": 0.0001, "localize.threshold": 0.15,
    },
    # Bae et al., entry to LID 2020
    "lid2020": {
        "train.backbone": "se_resnet50", "train.pretrained": True, "train.resize": 384, "train.crop": 336,
        "train.batch_size": 210, "train.head": "tap", "train.tap_threshold": 0.05, "extract_cams.method": "cam",
        "extract_cams.clamp_negative_weights": True, "localize.standard": "percentile", "localize.percentile": 98,
    },
    # Bae et al., ECCV 2020: rate 3e-3, a tenth of it for pretrained layers
    "rethinking_cam_eccv2020": SGD | {
        "train.backbone": "vgg16_conv1024", "train.pretrained": True, "train.lr": 0.0003, "train.head_lr_factor": 10.0,
        "train.weight_decay": 0.0005, "train.batch_size": 40, "train.epochs": 200, "train.schedule": "step",
        "train.step_epochs": [60, 120, 180], "train.head": "tap", "train.tap_threshold": 0.1,
        "extract_cams.method": "cam", "extract_cams.clamp_negative_weights": True,
        "localize.standard": "percentile", "localize.percentile": 90, "localize.threshold": 0.35,
    },
    "benchmark_cam": BENCHMARK,
    "benchmark_has": BENCHMARK | {
        "train.erasing": "has", "train.has_rate": 0.5, "train.has_sides": [0, 16, 32, 44, 56],
    },
    "benchmark_acol": BENCHMARK | {"train.head": "acol", "train.acol_threshold": 0.7, "train.acol_width": 1024},
    "benchmark_adl": BENCHMARK | {"train.erasing": "adl", "train.dropout_rate": 0.75, "train.adl_threshold": 0.9},
    "benchmark_cutmix": BENCHMARK | {
        "train.erasing": "cutmix", "train.cutmix_beta": 1.0, "train.cutmix_probability": 1.0,
    },
}  # fmt: skip
#: Found on CUB, of no paper.
OWN = {"cub_mobilenet_v2", "cub_ddt", "photos"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the presets, and a state folder of its own."""
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    return tmp_path


@pytest.mark.parametrize("name", PAPERS)
def test_a_preset_has_its_papers_values(here, name):
    flat = parse_params(preset_text(name, {}), name).flat()
    assert {key: flat[key] for key in PAPERS[name]} == PAPERS[name]
    assert flat["prepare.dataset"] == "cub"


def test_no_preset_is_left_out():
    assert {path.stem for path in ROOT.glob("presets/*.yaml")} == PAPERS.keys() | OWN | {"default"}


@pytest.mark.parametrize("path", ["params.yaml", "presets/default.yaml"])
def test_editors_find_the_schema(path):
    (schema,) = re.findall(r"^# yaml-language-server: \$schema=(.+)$", (ROOT / path).read_text(), re.MULTILINE)
    assert ((ROOT / path).parent / schema).resolve() == (ROOT / "pipeline/params.schema.json").resolve()


def test_the_defaults_are_those_that_a_clone_begins_with(here):
    assert preset_text("default", {}) == (ROOT / "params.yaml").read_text()


@pytest.mark.parametrize("name", sorted(PAPERS.keys() | OWN))
def test_a_preset_holds_only_what_differs(here, name):
    default = parse_params(preset_text("default", {}), "default").flat()
    held = dict(flatten(read_yaml((ROOT / f"presets/{name}.yaml").read_text(), name)))
    assert not {key for key, value in held.items() if value == default[key]}


def test_a_preset_does_not_mix_with_what_was_there(here):
    for name in ("acol_cvpr2018", "benchmark_cam"):
        write_params(preset_text(name, {"seed": 7}))
    values = {**PAPERS["benchmark_cam"], "seed": 7, "train.acol_threshold": 0.6, "extract_cams.ten_crop": False}
    flat = load_params().flat()
    assert {key: flat[key] for key in values} == values
    assert "# of the backbone" in (here / "params.yaml").read_text()


def test_the_former_file_is_kept(here, capsys):
    (here / "params.yaml").write_text("mine")
    write_params(preset_text("default", {}))
    (kept,) = (here / "state/params").iterdir()
    assert kept.read_text() == "mine"
    assert str(kept) in capsys.readouterr().err
    write_params(preset_text("default", {}))
    assert len(list((here / "state/params").iterdir())) == 1


def test_all_are_listed_the_default_first(here):
    assert preset_names()[0] == "default"
    assert set(preset_names()) == PAPERS.keys() | OWN | {"default"}
    assert "deep descriptor transforming" in title("cub_ddt")


@pytest.mark.parametrize(("name", "values", "message"), [
    ("cub_dt", {}, "did you mean cub_ddt"), ("../params", {}, "there are default"),
    ("cub_ddt", {"train.lambda": -1.0}, "preset cub_ddt with train.lambda=-1.0 is not valid"),
])  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_written(here, name, values, message):
    with pytest.raises(ParamsError, match=message):
        preset_text(name, values)
    assert not (here / "params.yaml").exists()
