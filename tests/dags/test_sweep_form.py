"""The rows of a sweep from its form."""

import json

import pytest
from airflow.sdk.exceptions import AirflowFailException
from wsol_dags.sweep_form import COMMON, rows_of

from pipeline.sweeps import space


def rows(lambdas=(), others=()):
    return [json.loads(row) for row in rows_of({"lambdas": list(lambdas), "rows": list(others)})]


def test_every_lambda_is_a_row_before_the_others():
    found = rows([0, 0.1], [{"seed": 1, "train.lambda": 0.2}, '{"train.backbone": "mobilenet_v2"}'])
    assert found == [
        {"train.lambda": 0.0},
        {"train.lambda": 0.1},
        {"seed": 1, "train.lambda": 0.2},
        {"train.backbone": "mobilenet_v2"},
    ]


def test_the_same_row_in_another_spelling_is_run_once():
    assert rows([0.1, 0.1], ['{"seed": 1, "train.lambda": 2}', {"train.lambda": 2, "seed": 1}]) == [
        {"train.lambda": 0.1},
        {"seed": 1, "train.lambda": 2},
    ]


def test_more_rows_than_airflow_maps_are_refused():
    assert len(rows([n / 1000 for n in range(1000)], [{"train.lambda": 0.0}])) == 1000
    with pytest.raises(AirflowFailException, match="the sweep has 1001 rows; at most 1000 are run"):
        rows([n / 1000 for n in range(1001)])


@pytest.mark.parametrize("row", ["[]", "{}", "0.1", "null", "not json", '{"seed": 1', ""])
def test_what_is_no_row_is_named(row):
    with pytest.raises(AirflowFailException, match="is no row"):
        rows([0.1], [row])


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("track.experiment", "filed under one experiment"),
        ("promote.metric", "judged by the same rules"),
        ("prepare.seed", "compared on the same images"),
        ("prepare.synthetic.classes", "compared on the same images"),
        ("prepare", "compared on the same images"),
    ],
)
@pytest.mark.parametrize("form", [dict, json.dumps])
def test_rows_that_could_not_be_compared_are_refused(key, reason, form):
    with pytest.raises(AirflowFailException, match=f"^{key}: all rows of a sweep are {reason}; set it in params.yaml"):
        rows([0.1], [form({"seed": 1, key: 3})])


def test_a_sweep_of_the_command_line_has_the_same_rule():
    assert space.COMMON == COMMON


def test_a_sweep_without_rows_is_refused():
    with pytest.raises(AirflowFailException, match="has no row"):
        rows()
