"""The rows of a sweep from its form."""

import json

import pytest
from airflow.sdk.exceptions import AirflowFailException
from wsol_dags.grid import rows_of


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


@pytest.mark.parametrize("row", ["[]", "{}", "0.1", "null"])
def test_what_is_no_row_is_named(row):
    with pytest.raises(AirflowFailException, match="is no row"):
        rows([0.1], [row])


def test_a_sweep_without_rows_is_refused():
    with pytest.raises(AirflowFailException, match="has no row"):
        rows()
