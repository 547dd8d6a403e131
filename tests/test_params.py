"""Every wrong key or value of params.yaml becomes one line that names it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml

from pipeline.errors import ParamsError
from pipeline.params import Params, TrainParams, load_params
from pipeline.training.losses import REGULARIZERS

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def tree():
    return yaml.safe_load((REPOSITORY / "params.yaml").read_text())


def message(tree, tmp_path) -> str:
    path = tmp_path / "params.yaml"
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    with pytest.raises(ParamsError) as error:
        load_params(path)
    assert error.value.exit_code == 2
    assert str(path) in str(error.value)
    return str(error.value)


def test_committed_file_is_valid():
    params = load_params(REPOSITORY / "params.yaml")
    flat = params.flat()
    assert flat["train.lambda"] == 0.0001
    assert flat["localize.threshold"] == "auto"
    assert flat["prepare.synthetic.image_size"] == 96
    assert flat.keys() == _leaves(yaml.safe_load((REPOSITORY / "params.yaml").read_text()))


def _leaves(tree, prefix=""):
    nested = (
        _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"}
        for key, value in tree.items()
    )
    return set().union(*nested)


def test_unknown_key_names_the_nearest_valid_one(tree, tmp_path):
    tree["train"]["lamda"] = 1
    assert "train.lamda: unknown key; did you mean train.lambda?" in message(tree, tmp_path)


def test_unknown_key_like_no_other_lists_its_siblings(tree, tmp_path):
    tree["track"]["zzz"] = 1
    assert "track.zzz: unknown key; valid keys are track.experiment." in message(tree, tmp_path)


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("train", "epochs", 2.5),
        ("train", "epochs", 0),
        ("train", "lambda", "high"),
        ("train", "lambda", -1.0),
        ("train", "lambda", True),
        ("train", "backbone", "resnet17"),
        ("train", "pretrained", 3),
        ("train", "freeze_batch_norm", "yes"),
        ("prepare", "val_fraction", 1.0),
        ("prepare", "root", None),
        ("localize", "threshold", 1.0),
        ("localize", "threshold", "best"),
        ("evaluate", "iou", [0.5, 0.5]),
        ("evaluate", "iou", [0.333]),
        ("evaluate", "iou", []),
        ("evaluate", "interval", 0),
        ("track", "experiment", "a@b"),
        ("train", "lr", float("inf")),
    ],
)
def test_ill_typed_value_is_named_with_its_key(tree, tmp_path, group, key, value):
    tree[group][key] = value
    assert f"{group}.{key}: " in message(tree, tmp_path)


def test_all_problems_are_listed_at_once(tree, tmp_path):
    tree["train"]["epochs"] = "many"
    tree["localize"]["treshold"] = 0.2
    del tree["evaluate"]
    text = message(tree, tmp_path)
    assert "train.epochs" in text
    assert "did you mean localize.threshold?" in text
    assert "evaluate: missing" in text


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("2.5E-1", 0.25), ("1.0e+1", 10.0), ("3", 3.0)])
def test_numbers_may_be_written_with_an_exponent(tmp_path, text, value):
    path = tmp_path / "params.yaml"
    committed = (REPOSITORY / "params.yaml").read_text()
    path.write_text(committed.replace("lambda: 0.0001 ", f"lambda: {text} "))
    assert load_params(path).train.lambda_ == value


def test_crop_larger_than_resize(tree, tmp_path):
    tree["train"]["crop"] = tree["train"]["resize"] + 1
    assert "train: crop (105) must not exceed resize (104)" in message(tree, tmp_path)


@pytest.mark.parametrize("text", ["a: [", "just text", "- 1\n- 2\n", "seed: 1\nseed: 2\n"])
def test_not_a_tree_of_groups(text, tmp_path):
    message(text, tmp_path)


def test_not_utf_8(tmp_path):
    (tmp_path / "params.yaml").write_bytes("seed: 0 # λ".encode("utf-16"))
    with pytest.raises(ParamsError, match="not valid YAML"):
        load_params(tmp_path / "params.yaml")


def test_missing_file(tmp_path):
    with pytest.raises(ParamsError, match="root of the repository"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("value", [0, 0.25, "auto"])
def test_thresholds(tree, tmp_path, value):
    tree["localize"]["threshold"] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(tree))
    assert load_params(path).localize.threshold == value


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"train.head": "acol", "train.erasing": "cutmix"}, "two classes"),
        ({"train.head": "acol", "train.erasing": "ae"}, "inside one network"),
        ({"train.head": "acol", "extract_cams.method": "grad_cam"}, "two branches"),
        ({"train.head": "acol", "extract_cams.relu": True}, "normalised already"),
        ({"train.erasing": "ae", "extract_cams.method": "ddt"}, "trains several"),
        ({"train.erasing": "adl", "train.freeze_backbone": True}, "does not train"),
        ({"train.freeze_backbone": True}, "train: freeze_backbone keeps what was pretrained"),
        (
            {"train.freeze_backbone": True, "train.pretrained": True, "train.backbone": "vgg16_conv1024"},
            "train: freeze_backbone would keep layers of vgg16_conv1024 that no library has weights for",
        ),
        ({"train.freeze_batch_norm": True}, "train: freeze_batch_norm keeps what was pretrained"),
        ({"train.regularizer": "label_smoothing", "train.lambda": 1.5}, "at most 1"),
        ({"extract_cams.clamp_negative_weights": True, "extract_cams.method": "layer_cam"}, "does not use"),
        ({"train.schedule": "step", "train.step_epochs": [6, 4]}, "must rise"),
        ({"train.accumulate": 3}, "multiple of accumulate"),
        ({"prepare.val_fraction": 0.5, "prepare.gate_fraction": 0.5}, "prepare: val_fraction and gate_fraction take 1"),
        ({"promote.metric": "test.gt_known_iou50"}, "promote.metric: test.gt_known_iou50: promotion cannot decide on"),
        (
            {"promote.guards": ["gate.cls_top1", "val.mean_iou"]},
            "promote.guards: val.mean_iou: promotion cannot decide",
        ),
        ({"promote.guards": ["train.mean_iou"]}, "promote.guards: train.mean_iou: promotion decides on the split gate"),
        ({"promote.metric": "gate.top1_loc_iou30"}, "promote.metric: 'gate.top1_loc_iou30' is not an accuracy that is"),
        ({"promote.metric": "gate.max_box_acc_iou50"}, "promote.metric: 'gate.max_box_acc_iou50' is not an accuracy"),
        ({"promote.guards": ["gate.gt_known_iou40"]}, "gate.gt_known_iou40 is not measured, as evaluate.iou is [0.3"),
    ],
    ids=str,
)
def test_what_makes_no_sense_together_is_refused_with_a_reason(tree, tmp_path, changes, reason):
    for key, value in changes.items():
        group, name = key.split(".")
        tree[group][name] = value
    assert reason in message(tree, tmp_path)


def test_every_regularizer_can_be_named():
    assert set(get_args(TrainParams.model_fields["regularizer"].annotation)) == set(REGULARIZERS)


def test_one_entry_makes_a_backbone_that_can_be_chosen_and_built(tree, tmp_path):
    tree["train"]["backbone"] = "resnet34"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    code = """
from pathlib import Path
from pipeline.models.zoo import BACKBONES, Architecture, Backbone, LibraryWeights
BACKBONES["resnet34"] = Backbone(
    Architecture("torchvision_resnet", ("resnet34",)),
    LibraryWeights("torchvision", "resnet34", "IMAGENET1K_V1"),
    ("layer3.0", "layer4.0"),
)
from pipeline.params import load_params
from pipeline.models.backbones import build_backbone, channels
print(channels(build_backbone(load_params(Path("params.yaml")).train.backbone, 16)))
"""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "512", done.stderr


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.epochs", 10**19), ("evaluate.interval", 1e-12), ("prepare.synthetic.image_size", 10**9),
        ("train.resize", 10**9), ("extract_cams.batch_size", 10**9), ("train.lr", 1e30), ("train.has_sides", [10**9]),
        ("train.has_sides", [1] * 101), ("train.step_epochs", [10**9]), ("extract_cams.ddt_layers", ["a@99999"]),
        ("prepare.root", "a" * 300), ("prepare.root", "é" * 200), ("train.pretrained", "a/" * 600),
        ("track.experiment", "a" * 300),
    ],
)  # fmt: skip
def test_what_no_machine_could_run_is_refused_with_what_is_allowed(tree, tmp_path, key, value):
    *groups, name = key.split(".")
    group = tree
    for part in groups:
        group = group[part]
    group[name] = value
    text = message(tree, tmp_path)
    assert f"{key}: " in text
    assert len(text) < 1000


def _numbers(schema, model, key=""):
    """The schema of every number of the parameters under its key."""
    if "$ref" in model:
        model = schema["$defs"][model["$ref"].rpartition("/")[2]]
    if model.get("type") in ("integer", "number"):
        yield key, model
    for name, inner in model.get("properties", {}).items():
        yield from _numbers(schema, inner, f"{key}.{name}".removeprefix("."))
    for inner in (*model.get("anyOf", ()), *([model["items"]] if "items" in model else ())):
        yield from _numbers(schema, inner, key)


def test_every_number_has_a_lower_and_an_upper_bound():
    schema = Params.model_json_schema()
    numbers = list(_numbers(schema, schema))
    assert len(numbers) > 40
    for key, number in numbers:
        if "enum" not in number:
            assert number.keys() & {"minimum", "exclusiveMinimum"}, key
            assert number.keys() & {"maximum", "exclusiveMaximum"}, key
