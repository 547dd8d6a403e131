"""What a command's end means."""

from types import SimpleNamespace

import pytest
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from wsol_dags.commands import KILLED, error_message, failure, last_object, workspace_arguments


@pytest.mark.parametrize(("code", "passing"), [(75, ()), (None, ()), (137, KILLED), (143, KILLED)])
def test_what_may_pass_is_tried_again(code, passing):
    error = failure("train", code, "server away", passing)
    assert type(error) is AirflowException
    assert str(error) == f"train ended with exit code {code}: server away"


@pytest.mark.parametrize(("code", "passing"), [(1, KILLED), (2, KILLED), (137, ()), (143, ()), (0, ())])
def test_anything_else_is_final(code, passing):
    assert type(failure("train", code, "", passing)) is AirflowFailException


def test_the_result_is_the_last_object_wherever_other_lines_came_in_between():
    assert last_object(["{}", '{"a": 1}', '{"a": 2}', "To enable auto staging", "{no json"]) == {"a": 2}
    assert last_object(["[1]", "1"]) == {}


def test_the_message_is_the_last_error_or_the_last_line():
    assert error_message(["error: first", "error: second", "ERROR: failed to reproduce 'train'"]) == "error: second"
    assert error_message(["ERROR: disk is full", "Having any troubles?"]) == "ERROR: disk is full"
    assert error_message(["one", "two", " "]) == "two"
    assert error_message([]) == "no output"


def arguments(run_type="manual", pinned=False, run_id="r", **conf):
    form = {"train.lambda": Param(0.1, type="number")}
    params = {"revision": None, "train.lambda": 0.1}
    context = {
        "run_id": run_id, "params": params | conf, "dag": SimpleNamespace(params=params),
        "dag_run": SimpleNamespace(run_type=run_type, conf=conf),
    }  # fmt: skip
    return workspace_arguments(form, context, pinned)


def test_only_a_manual_run_of_a_working_tree_takes_it_as_it_is():
    assert arguments() == ["workspace", "create", "r"]
    assert arguments("scheduled") == ["workspace", "create", "r", "--revision=HEAD"]
    assert arguments("asset_triggered") == ["workspace", "create", "r", "--revision=HEAD"]
    assert arguments(pinned=True) == ["workspace", "create", "r", "--revision=HEAD"]
    assert arguments(pinned=True, revision="v1") == ["workspace", "create", "r", "--revision=v1"]


def test_changed_values_are_options():
    assert arguments(**{"train.lambda": 0.5}) == ["workspace", "create", "r", "--set=train.lambda=0.5"]


@pytest.mark.parametrize("pinned", [False, True])
def test_a_misspelt_key_of_the_trigger_is_refused(pinned):
    with pytest.raises(AirflowFailException, match=r"train\.lamda: unknown key; did you mean train\.lambda\?"):
        arguments(pinned=pinned, **{"train.lamda": 1})


def test_a_run_id_that_would_be_an_option_is_refused():
    with pytest.raises(AirflowFailException, match="starts with '-'"):
        arguments(run_id="--revision=x")
