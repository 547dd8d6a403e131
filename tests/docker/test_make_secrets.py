"""The secrets of the stack: drawn, each where it is needed and nowhere else."""

import sys

import pytest

from tests.project import ROOT

sys.path.insert(0, str(ROOT / "docker/tools"))
import make_secrets


@pytest.fixture
def root(tmp_path):
    for name in ("airflow", "mlflow", "postgres", "tasks"):
        (tmp_path / name).mkdir()
    return tmp_path


def made(root):
    make_secrets.make_secrets(root)
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_each_identity_of_tasks_has_the_account_of_its_role_and_none_is_the_administrator(root):
    found = made(root)
    name, password = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
    accounts = {"training": "training", "promotion": "promotion", "publish": "training"}
    tasks = {path for path in found if path.startswith("tasks/")}
    assert tasks == {f"tasks/{identity}/{entry}" for identity in accounts for entry in (name, password)}
    for identity, account in accounts.items():
        assert found[f"tasks/{identity}/{name}"] == account
        assert found[f"tasks/{identity}/{password}"] == found[f"mlflow/{account}_password"]
    assert found["mlflow/admin_password"] not in [found[path] for path in tasks]


def test_passwords_are_drawn_differ_and_are_for_their_owner(root, tmp_path_factory):
    first = made(root)
    drawn = [value for path, value in first.items() if path.startswith("mlflow/") and path.endswith("password")]
    assert len(set(drawn)) == len(drawn) == 5
    assert all(len(value) == 48 for value in drawn)
    assert {path.stat().st_mode & 0o777 for path in root.rglob("*") if path.is_file()} == {0o400}
    other = tmp_path_factory.mktemp("other")
    for name in ("airflow", "mlflow", "postgres", "tasks"):
        (other / name).mkdir()
    assert not set(drawn) & set(made(other).values())


def test_a_second_start_draws_nothing_anew_and_completes_what_is_missing(root):
    first = made(root)
    (root / "tasks/promotion/MLFLOW_TRACKING_PASSWORD").unlink()
    assert made(root) == first


def test_what_every_task_had_is_taken_from_them(root):
    """Before there were identities, tasks signed in as the administrator and had the keys of a store."""
    (root / "tasks/MLFLOW_TRACKING_PASSWORD").write_text("the administrator's")
    (root / "tasks/AWS_SECRET_ACCESS_KEY").write_text("key")
    found = made(root)
    assert found["tasks/publish/AWS_SECRET_ACCESS_KEY"] == "key"
    assert "the administrator's" not in found.values()
    assert not [path for path in (root / "tasks").iterdir() if path.is_file()]
