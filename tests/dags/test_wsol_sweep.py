"""The sweep: a mapped group of all stages between its parent run and the comparison."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.definitions.mappedoperator import MappedOperator

CHECKOUT = Path(__file__).parents[2]
STAGES = yaml.safe_load((CHECKOUT / "dvc.yaml").read_text())["stages"]


@pytest.fixture(scope="module")
def dag():
    bag = DagBag(str(CHECKOUT / "dags"))
    assert bag.import_errors == {}
    return bag.dags["wsol_sweep"]


def test_a_row_is_all_stages_in_a_workspace_and_nothing_is_mapped_within(dag):
    names = {"workspace", "check", "add", "remove_workspace", *STAGES}
    assert set(dag.task_dict) == {"rows", "open", "close"} | {f"row.{name}" for name in names}
    for name in names:
        task = dag.task_dict[f"row.{name}"]
        assert task.get_closest_mapped_task_group() is not None
        assert not isinstance(task, MappedOperator)
    assert dag.task_dict["row.workspace"].is_setup
    assert dag.task_dict["row.remove_workspace"].is_teardown


def test_the_comparison_comes_last_and_whatever_happened(dag):
    close = dag.task_dict["close"]
    assert close.trigger_rule == "all_done"
    assert close.upstream_task_ids == {"row.add"}
    assert "row.workspace" in dag.task_dict["open"].downstream_task_ids
    assert "open" in dag.task_dict["row.train"].get_flat_relative_ids(upstream=True)


def test_the_end_of_a_sweep_whose_rows_were_refused_finds_none(dag):
    ti = SimpleNamespace(xcom_pull=lambda **_: None)
    close = dag.task_dict["close"]
    found = close.render_template(close.arguments, {"ti": ti, "run_id": "r"}, close.get_template_env(dag))
    assert found == ["rows", "close", "r", "--rows=[]", "--expected=0"]


def test_a_stage_that_needs_a_gpu_is_at_work_in_one_row_at_a_time(dag):
    limits = {name: dag.task_dict[f"row.{name}"].max_active_tis_per_dag for name in STAGES}
    assert limits == {name: 1 if stage["meta"]["gpus"] else None for name, stage in STAGES.items()}


def test_limits_come_from_dvc_yaml(dag):
    for name, stage in STAGES.items():
        task = dag.task_dict[f"row.{name}"]
        assert task.arguments == ["repro", "--single-item", name]
        assert task.retries == stage["meta"]["retries"]


def test_the_form_has_values_that_are_valid(dag):
    dag.params.validate()
    assert dag.schedule is None
