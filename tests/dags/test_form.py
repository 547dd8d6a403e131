"""The trigger form made from params.yaml and its schema."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException
from wsol_dags.form import FIRST, form_of, overrides, refuse_unknown_keys

CHECKOUT = Path(__file__).parents[2]

TEXT = """\
seed: 0
train:
  lambda: 0.5
  pretrained: false
  freeze: true
  name: x y
  head: gap
  inner:
    iou: [0.3, 1]
    sides: [3]
localize:
  threshold: auto
"""
#: By dotted key; what a generated schema has for each kind of key.
NODES = {
    "seed": {"type": "integer", "minimum": 0, "exclusiveMaximum": 8, "title": "Seed", "description": "of training"},
    "train.lambda": {"type": "number", "title": "λ", "description": "weight"},
    "train.pretrained": {"anyOf": [{"type": "boolean"}, {"type": "string"}], "examples": [False], "title": "weights"},
    "train.freeze": {"type": "boolean"},
    "train.name": {"type": "string", "pattern": "x"},
    "train.head": {"type": "string", "enum": ["gap", "gmp"]},
    "train.inner.iou": {"type": "array", "items": {"type": "number"}, "examples": [0.3, 0.5, 1]},
    "train.inner.sides": {"type": "array", "items": {"type": "integer"}},
    "localize.threshold": {
        "anyOf": [{"const": "auto", "type": "string"}, {"type": "number", "minimum": 0}],
        "examples": ["auto"],
    },
}


def schema_of(nodes):
    tree = {"properties": {}}
    for key, node in nodes.items():
        *groups, name = key.split(".")
        group = tree
        for part in groups:
            group = group["properties"].setdefault(part, {"properties": {}})
        group["properties"][name] = node
    return tree


@pytest.fixture
def make_form(tmp_path):
    def make(text):
        (tmp_path / "params.yaml").write_text(text)
        (tmp_path / "pipeline").mkdir()
        (tmp_path / "pipeline/params.schema.json").write_text(json.dumps(schema_of(NODES)))
        return form_of(tmp_path)

    return make


@pytest.fixture
def form(make_form):
    return make_form(TEXT)


def test_fields_have_what_the_schema_says(form):
    text = {"type": ["string", "number"], "examples": ["auto"]}
    fields = {
        "train.lambda": (0.5, {"type": "number", "title": "λ"}),
        "localize.threshold": ("auto", text | {"title": "localize.threshold"}),
        "seed": (0, {"type": "integer", "minimum": 0, "exclusiveMaximum": 8, "title": "Seed", "section": "general"}),
        "train.pretrained": (
            "false",
            {"type": ["string", "boolean"], "examples": ["false"], "title": "weights", "section": "train"},
        ),
        "train.freeze": (True, {"type": "boolean", "title": "train.freeze", "section": "train"}),
        "train.name": ("x y", {"type": "string", "title": "train.name", "section": "train"}),
        "train.head": (
            "gap",
            {"type": "string", "enum": ["gap", "gmp"], "title": "train.head", "section": "train"},
        ),
        "train.inner.iou": (
            ["0.3", "1"],
            {"type": "array", "items": {"type": ["number", "string"]}, "examples": ["0.3", "0.5", "1"],
             "title": "train.inner.iou", "section": "train.inner"},
        ),
        "train.inner.sides": (
            [3],
            {"type": "array", "items": {"type": ["integer"]}, "title": "train.inner.sides", "section": "train.inner"},
        ),
    }  # fmt: skip
    assert {key: (field.value, field.schema) for key, field in form.items()} == fields
    assert form["seed"].description == "seed: of training"


def test_what_is_changed_most_comes_first_and_is_in_view():
    form = form_of(CHECKOUT)
    assert tuple(form)[: len(FIRST)] == FIRST
    assert [key for key, field in form.items() if "section" not in field.schema] == list(FIRST)


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [("seed: 9", 9), ("seed:", None), ("seed: [a]", ["a"]), ("sed: 1", 1), ("seed: 2024-01-01", "2024-01-01")],
)
def test_what_is_wrong_in_the_file_keeps_its_field(make_form, wrong, shown):
    (field,) = make_form(wrong + "\n").values()
    assert field.resolve() == shown
    assert field.resolve("anything") == "anything"


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
        ("train.inner.iou", [0.5, 0.7], [0.5, 0.7]),
        ("train.head", "gmp", "gmp"),
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
        assert overrides(form, {key: value}) == {}, key
        field.resolve()
        field.resolve(value)
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
        ({"xyz": 1}, r"^xyz: unknown key; valid keys are train\.lambda, localize"),
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
