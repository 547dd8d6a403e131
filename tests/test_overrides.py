"""Values written into the text of params.yaml."""

from pathlib import Path

import pytest
import yaml

from pipeline.errors import ParamsError
from pipeline.overrides import override, override_tree, parse_assignment, parse_values, value_of
from pipeline.strict_yaml import read_yaml

TEXT = """\
# all settings
seed: 0   # of training

train:
  lambda: 0.0001  # weight
  pretrained: false
evaluate:
  iou: [0.3, 0.5]  # criteria
"""


def test_only_the_value_changes():
    assert override(TEXT, {"train.lambda": 0.02}) == TEXT.replace("0.0001", "0.02  ")


@pytest.mark.parametrize(("line", "key"), [('"train.b": 1', "train.b"), ('"a.b": {c: 1}', "a.b.c")])
def test_keys_that_a_dotted_name_cannot_mean_are_unknown(line, key):
    with pytest.raises(ParamsError, match="unknown key"):
        override(f"{TEXT}{line}\n", {key: 3})


def test_lists_stay_in_one_line_and_texts_are_written():
    changed = override(TEXT, {"evaluate.iou": [0.5], "train.pretrained": "w/a.pth"})
    assert "  iou: [0.5]       # criteria\n" in changed
    assert "  pretrained: w/a.pth\n" in changed


def test_a_small_float_is_a_float_for_every_yaml_reader():
    changed = override(TEXT, {"train.lambda": 1e-5})
    assert yaml.safe_load(changed)["train"]["lambda"] == 1e-5
    assert value_of(changed, "train.lambda") == 1e-5


def test_an_equal_value_keeps_its_spelling():
    assert override(TEXT, {"train.lambda": 1e-4}) == TEXT


def test_false_is_not_zero():
    assert value_of(override(TEXT, {"seed": False}), "seed") is False


def test_no_override_leaves_the_text_alone():
    assert override(TEXT, {}) == TEXT


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("train.lamda", "train.lamda: unknown key; did you mean train.lambda?"),
        ("train", "train: unknown key; it is a group; name one of train.lambda, train.pretrained."),
        ("x", "x: unknown key; valid keys are seed, train.lambda, train.pretrained, evaluate.iou."),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(key, hint):
    with pytest.raises(ParamsError, match="unknown key") as error:
        override(TEXT, {key: 1})
    assert str(error.value).startswith(hint)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("k=1e-4", 1e-4), ("k=3", 3), ("k=auto", "auto"), ('k="3"', "3"), ("k=false", False), ("k=[0.5, 1]", [0.5, 1]),
        ("k=a=b", "a=b"), ("k=../x y", "../x y"),
    ],
)  # fmt: skip
def test_an_assignment_is_read_as_if_typed_into_the_file(text, value):
    key, parsed = parse_assignment(text)
    assert (key, parsed, type(parsed)) == ("k", value, type(value))


def test_an_assignment_needs_an_equals_sign():
    with pytest.raises(ParamsError, match=r"write KEY=VALUE"):
        parse_assignment("train.lambda")


def test_value_of_a_missing_key_is_none():
    assert value_of(TEXT, "train.lr") is None
    assert value_of(TEXT, "seed.x") is None


def test_the_projects_own_file_survives_unchanged():
    text = (Path(__file__).parents[1] / "params.yaml").read_text()
    assert override(text, {"seed": 1}) == text.replace("seed: 0 ", "seed: 1 ", 1)


def test_several_values_come_as_a_json_object():
    assert parse_values('{"train.lambda": 0.01, "evaluate.iou": [0.5]}') == {
        "train.lambda": 0.01,
        "evaluate.iou": [0.5],
    }


@pytest.mark.parametrize("text", ["[1]", "train.lambda=1", ""])
def test_what_is_no_json_object_is_named(text):
    with pytest.raises(ParamsError, match="is not a JSON object"):
        parse_values(text)


@pytest.mark.parametrize("value", [3, 1e-5, -0.0, None, True, "010", "yes", "a: b", [0.5, "x"], []])
def test_overridden_values_are_those_of_the_overridden_text(value):
    changes = {"train.lambda": value, "seed": value}
    assert override_tree(read_yaml(TEXT, ""), changes) == read_yaml(override(TEXT, changes), "")
    with pytest.raises(ParamsError, match="did you mean train"):
        override_tree(read_yaml(TEXT, ""), {"train.lamda": value})
