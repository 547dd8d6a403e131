"""The operators of the `process` runtime on a folder with a stand-in for `python -m pipeline`."""

import os
import threading
from types import SimpleNamespace

import pytest
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from wsol_dags.runtimes.process import CommandOperator, RemoveWorkspaceOperator, WorkspaceOperator

from tests.processes import is_alive, wait_for_pid

#: Ends with the code it is told, leaving a message as the real one does; `sleep` starts a child and waits.
STAND_IN = """
import json, os, subprocess, sys, time
what = sys.argv[1]
if what == "sleep":
    child = subprocess.Popen(["sleep", "120"])
    open("child", "w").write(str(child.pid))
    import signal
    signal.signal(signal.SIGTERM, lambda *_: (child.terminate(), sys.exit(143)))
    if sys.argv[2] == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open("pid", "w").write(str(os.getpid()))
    time.sleep(120)
if what == "fail":
    open(os.environ["WSOL_OUTCOME_FILE"], "w").write(json.dumps({"exit_code": 2, "message": "lambda is\\nwrong"}))
    print("noise")
    sys.exit(int(sys.argv[2])) if sys.argv[2].isdigit() else os.kill(os.getpid(), 9)
print("working")
print(json.dumps({"arguments": sys.argv[1:], "run": os.environ["WSOL_AIRFLOW_RUN"],
    "starter": os.environ["WSOL_STARTER"]}))
"""
CONTEXT = {"run_id": "manual__1"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline/__main__.py").write_text(STAND_IN)
    return tmp_path


def command(folder, *arguments):
    return CommandOperator(task_id="t", arguments=arguments, folder=str(folder))


def test_the_last_line_is_the_result_and_the_run_is_named(folder):
    answer = command(folder, "repro", "train").execute(CONTEXT)
    assert answer == {"arguments": ["repro", "train"], "run": "manual__1", "starter": str(os.getpid())}


def test_a_transient_fault_is_tried_again(folder):
    with pytest.raises(AirflowException, match="lambda is\nwrong") as error:
        command(folder, "fail", "75").execute(CONTEXT)
    assert not isinstance(error.value, AirflowFailException)


@pytest.mark.parametrize("code", ["137", "kill"])
def test_a_killed_stage_or_command_is_tried_again(folder, code):
    with pytest.raises(AirflowException, match="lambda is\nwrong") as error:
        command(folder, "fail", code).execute(CONTEXT)
    assert not isinstance(error.value, AirflowFailException)


@pytest.mark.parametrize("code", [1, 2, 143])
def test_any_other_failure_is_final_and_carries_the_message(folder, code):
    with pytest.raises(AirflowFailException, match=f"^t ended with exit code {code}: lambda is\nwrong"):
        command(folder, "fail", str(code)).execute(CONTEXT)


@pytest.mark.parametrize("manner", ["polite", "deaf"])
def test_a_cancelled_command_is_gone_with_its_children(folder, manner):
    operator = command(folder, "sleep", manner)
    errors = []

    def execute():
        try:
            operator.execute(CONTEXT)
        except AirflowException as error:
            errors.append(error)

    thread = threading.Thread(target=execute)
    thread.start()
    pid, child = wait_for_pid(folder / "pid"), wait_for_pid(folder / "child")
    operator.on_kill()
    thread.join(30)
    assert not thread.is_alive()
    assert not is_alive(pid)
    assert not is_alive(child)
    assert isinstance(errors[0], AirflowFailException)


def test_killing_a_task_that_started_nothing_does_nothing(folder):
    command(folder, "repro").on_kill()


def workspace(folder, run_type="manual", **values):
    form = {"train.lambda": Param(0.1, type="number"), "localize.threshold": Param("auto", type=["string", "number"])}
    operator = WorkspaceOperator(task_id="workspace", folder=str(folder), form=form)
    params = {"in_place": False, "revision": None} | {key: field.value for key, field in form.items()}
    run = {"dag": SimpleNamespace(params=params), "dag_run": SimpleNamespace(run_type=run_type, conf=values)}
    return operator.execute(CONTEXT | run | {"params": params | values})


def test_a_manual_run_takes_the_working_tree(folder):
    assert workspace(folder)["arguments"] == ["workspace", "create", "manual__1"]


def test_a_scheduled_run_takes_the_commit(folder):
    assert workspace(folder, "scheduled")["arguments"] == ["workspace", "create", "manual__1", "--revision=HEAD"]


def test_changed_fields_become_overrides(folder):
    answer = workspace(folder, revision="v1", **{"train.lambda": 1e-5, "localize.threshold": "0.3"})
    assert answer["arguments"][3:] == ["--set=train.lambda=1e-05", "--set=localize.threshold=0.3", "--revision=v1"]


def test_an_untouched_field_in_another_spelling_is_no_override(folder):
    assert workspace(folder, **{"localize.threshold": "'auto'"})["arguments"] == ["workspace", "create", "manual__1"]


def test_in_place_is_the_checkout_itself(folder):
    assert workspace(folder, in_place=True) == {"workspace": str(folder)}


@pytest.mark.parametrize("values", [{"train.lambda": 1}, {"revision": "v1"}])
def test_in_place_takes_no_other_values(folder, values):
    with pytest.raises(AirflowFailException, match="leave in_place off"):
        workspace(folder, in_place=True, **values)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_misspelt_field_is_refused(folder, in_place):
    with pytest.raises(AirflowFailException, match=r"did you mean train\.lambda\?"):
        workspace(folder, in_place=in_place, **{"train.lamda": 1})


def test_a_scheduled_run_is_never_in_place(folder):
    with pytest.raises(AirflowFailException, match="leave in_place off"):
        workspace(folder, "scheduled", in_place=True)


def test_only_a_workspace_is_removed(folder):
    operator = RemoveWorkspaceOperator(task_id="remove", folder=str(folder))
    assert operator.execute(CONTEXT | {"params": {"in_place": True}}) == {}
    assert operator.execute(CONTEXT | {"params": {"in_place": False}})["arguments"][:2] == ["workspace", "remove"]
