"""What a test sees of MLflow's rows does not depend on the order in which a database gives them."""

import copy

from tests.docker.stack import Stack

ENV = "COMPOSE_PROJECT_NAME=x\nAIRFLOW_PORT=1\nMLFLOW_PORT=2\n"
PAIRS = [{"key": "b", "value": 1}, {"key": "a", "value": 2}]


def row(run_id, start):
    return {"info": {"run_id": run_id, "start_time": start}, "data": {"params": PAIRS, "metrics": PAIRS}}


def rows(tmp_path, monkeypatch, answer):
    (tmp_path / ".env").write_text(ENV)
    stack = Stack(tmp_path)
    answers = {"GET": {"experiment": {"experiment_id": "1"}}, "POST": {"runs": answer}}
    monkeypatch.setattr(stack, "_ask_mlflow", lambda method, *_: answers[method])
    return stack.rows()


def test_rows_and_their_values_are_in_one_order(tmp_path, monkeypatch):
    answer = [row("b", 1), row("a", 1), row("c", 0)]
    other = copy.deepcopy(answer[::-1])
    for each in other:
        each["data"]["params"].reverse()
        each["data"]["metrics"].reverse()
    shown = rows(tmp_path, monkeypatch, answer)
    assert [each["info"]["run_id"] for each in shown] == ["c", "a", "b"]
    assert rows(tmp_path, monkeypatch, other) == shown
