"""The trigger form made from params.yaml."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException
from wsol_dags.form import form_of, overrides, refuse_unknown_keys

CHECKOUT = Path(__file__).parents[2]

TEXT = """\
seed: 0      # of training
train:
  lambda: 0.5   # weight
  pretrained: false  # true | false | a path
  freeze: true
  name: x y
  inner:
    iou: [0.3, 1]   # criteria
localize:
  threshold: auto  # auto: from val | a number
"""


@pytest.fixture
def form(tmp_path):
    (tmp_path / "params.yaml").write_text(TEXT)
    return form_of(tmp_path)


def test_fields_have_type_default_comment_and_section(form):
    fields = {key: (f.value, f.schema["type"], f.description, f.schema["section"]) for key, f in form.items()}
    text = ["string", "number", "boolean"]
    assert fields == {
        "seed": (0, "integer", "of training", "general"),
        "train.lambda": (0.5, "number", "weight", "train"),
        "train.pretrained": ("false", text, "true | false | a path", "train"),
        "train.freeze": (True, "boolean", "", "train"),
        "train.name": ("x y", text, "", "train"),
        "train.inner.iou": ([0.3, 1], "array", "criteria", "train.inner"),
        "localize.threshold": ("auto", text, "auto: from val | a number", "localize"),
    }


def test_untouched_fields_override_nothing(form):
    assert overrides(form, {key: field.value for key, field in form.items()} | {"in_place": True}) == {}


@pytest.mark.parametrize(
    ("key", "given", "taken"),
    [
        ("train.lambda", 0.1, 0.1),
        ("train.lambda", 1, 1),
        ("train.pretrained", "true", True),
        ("train.pretrained", True, True),
        ("train.pretrained", "w/a.pth", "w/a.pth"),
        ("localize.threshold", "0.3", 0.3),
        ("localize.threshold", 0.3, 0.3),
        ("train.inner.iou", ["0.5", "0.7"], [0.5, 0.7]),
        ("train.freeze", False, False),
    ],
)
def test_changed_fields_are_read_as_in_the_file(form, key, given, taken):
    changed = overrides(form, {key: given})
    assert changed == {key: taken}
    assert type(changed[key]) is type(taken)


def test_equal_values_in_another_spelling_override_nothing(form):
    same = {"train.pretrained": False, "train.inner.iou": ["0.3", "1"], "train.lambda": 0.5}
    assert overrides(form, same) == {}


def test_the_projects_form_shows_the_projects_values():
    tree = yaml.safe_load((CHECKOUT / "params.yaml").read_text())
    form = form_of(CHECKOUT)
    for key, field in form.items():
        value = tree
        for part in key.split("."):
            value = value[part]
        shown = field.value
        assert (yaml.safe_load(shown) if isinstance(shown, str) else shown) == value, key
        field.resolve()
    assert len(form) == sum(1 for _ in leaves(tree))


def leaves(tree):
    for value in tree.values():
        if isinstance(value, dict):
            yield from leaves(value)
        else:
            yield value


def trigger(form, conf):
    refuse_unknown_keys({"dag": SimpleNamespace(params=form), "dag_run": SimpleNamespace(conf=conf)})


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"seed": 1, "train.lamda": 1}, r"^train\.lamda: unknown key; did you mean train\.lambda\? Nothing was run"),
        ({"train": {"lambda": 1}}, r"^train: unknown key; it is a group; name one of train\.lambda, train\.pre"),
        ({"xyz": 1}, r"^xyz: unknown key; valid keys are seed, train\.lambda,"),
    ],
)
def test_a_key_that_is_no_field_is_refused(form, conf, message):
    with pytest.raises(AirflowFailException, match=message):
        trigger(form, conf)


@pytest.mark.parametrize("conf", [None, {}, {"train.lambda": 1}])
def test_fields_and_a_trigger_without_any_are_taken(form, conf):
    trigger(form, conf)


@pytest.mark.parametrize(
    "text",
    ["010", "0o10", "08", "1_000", "0x1F", ".inf", ".nan", "2024-01-01", "2024-13-45", "0b_", "!!int abc", "9" * 5000,
     "[" * 900, "x" * 100_000, "[&a [x, x], &b [*a, *a], &c [*b, *b]]", "a: [", "a\0b",
     " {a: &a [x, x], b: &b [*a, *a]}", "\t[&a [x], *a]", "a: 2020-01-01", "a: !!binary aGk=", "? [a]", "{a: [1_0]}"],
)  # fmt: skip
def test_what_is_not_the_same_to_all_readers_stays_the_text_it_is(form, text):
    assert overrides(form, {"localize.threshold": text}) == {"localize.threshold": text}
    assert overrides(form, {"train.inner.iou": [text]}) == {"train.inner.iou": [text]}


def test_the_items_of_a_list_are_read_one_by_one(form):
    assert overrides(form, {"train.inner.iou": " [0.5, 1_0, 0o7, 2024-01-01, true] "}) == {
        "train.inner.iou": [0.5, "1_0", "0o7", "2024-01-01", True]
    }
    assert overrides(form, {"train.inner.iou": "[]"}) == {"train.inner.iou": []}
