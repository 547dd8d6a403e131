"""Which GPUs a task gets."""

import pytest
from airflow.sdk.exceptions import AirflowException
from wsol_dags.runtimes.gpus import reserved_gpus


def test_two_tasks_at_once_get_different_gpus(tmp_path):
    with reserved_gpus(1, 3, tmp_path) as first, reserved_gpus(2, 3, tmp_path) as second:
        assert (first, second) == (["0"], ["1", "2"])


def test_a_gpu_is_free_again_after_its_task(tmp_path):
    with pytest.raises(KeyError), reserved_gpus(2, 2, tmp_path):
        raise KeyError
    with reserved_gpus(2, 2, tmp_path) as numbers:
        assert numbers == ["0", "1"]


def test_too_few_free_gpus_may_pass_and_hold_none(tmp_path):
    with reserved_gpus(1, 2, tmp_path):
        with pytest.raises(AirflowException, match="2 GPUs are needed, 1 of 2 are free"), reserved_gpus(2, 2, tmp_path):
            pass
        with reserved_gpus(1, 2, tmp_path) as numbers:
            assert numbers == ["1"]


def test_no_gpu_is_always_free(tmp_path):
    with reserved_gpus(0, 0, tmp_path) as numbers:
        assert numbers == []
