"""Files are replaced whole or not at all."""

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.files import (
    existing,
    read_json,
    read_shards,
    replacing,
    replacing_folder,
    write_csv,
    write_json,
    write_shard,
)


def test_a_failure_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("old")
    with replacing_folder(target) as folder:
        (folder / "new").write_text("new")
        assert (target / "old").exists()
    assert [p.name for p in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_while_filling_a_folder_leaves_the_old_one(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(RuntimeError), replacing_folder(target):
        raise RuntimeError
    assert [p.name for p in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("writing", [replacing, replacing_folder])
def test_a_file_where_a_folder_is_needed_is_an_error_that_names_it(tmp_path, writing):
    (tmp_path / "models").write_text("a file")
    with pytest.raises(UserError, match="models"), writing(tmp_path / "models" / "sub" / "x"):
        pass


def test_json_is_byte_stable(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1 / 3, "a": [0.1 + 0.2, 1]})
    write_json(tmp_path / "b.json", {"a": (0.3, 1), "b": 0.33333333333})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [0.3, 1], "b": 0.3333333333}


def test_json_refuses_what_is_no_number(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_csv_has_ten_digits(tmp_path):
    write_csv(tmp_path / "a.csv", pd.DataFrame({"x": [1 / 3]}))
    assert (tmp_path / "a.csv").read_text() == "x\n0.3333333333\n"


def test_shards_come_back_in_order(tmp_path):
    for number in (1, 0, 10):
        write_shard(tmp_path, number, {"n": np.array([number])})
    assert [int(shard["n"][0]) for shard in read_shards(tmp_path)] == [0, 1, 10]


def test_equal_shards_are_equal_bytes(tmp_path):
    for number in (0, 1):
        write_shard(tmp_path, number, {"x": np.arange(3), "ids": np.array(["a", "b", "c"])})
    assert (tmp_path / "00000.npz").read_bytes() == (tmp_path / "00001.npz").read_bytes()


def test_a_missing_input_names_the_stage_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from pipeline.files import BOXES

    with pytest.raises(UserError, match="python -m pipeline localize"):
        existing(BOXES / "threshold.json")


@pytest.mark.parametrize("name", ["a.json", "shards/00000.npz"])
def test_a_damaged_file_is_named_with_the_way_out(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"{half of")
    with pytest.raises(UserError, match=rf"{path} is damaged: .* `python -m pipeline repro`"):
        read_json(path) if path.suffix == ".json" else list(read_shards(path.parent))


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / ".out.half").mkdir()
    with replacing_folder(tmp_path / "out"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
