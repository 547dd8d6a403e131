"""Files are replaced whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.files import (
    existing,
    read_json,
    read_shards,
    replacing,
    replacing_files,
    replacing_folder,
    write_bytes,
    write_csv,
    write_json,
    write_shard,
)
from tests.full_disk import FullDisk


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
        read_json(path, dict) if path.suffix == ".json" else list(read_shards(path.parent))


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / ".out.half").mkdir()
    with replacing_folder(tmp_path / "out"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("writing", [replacing_files, replacing_folder])
@pytest.mark.parametrize("before", [{}, {"a": b"old a"}, {"a": b"old a", "c": b"old c", "record.json": b"old"}])
def test_several_files_appear_together_or_not_at_all(tmp_path, writing, before):
    """The disk is full for a moment, at every step in turn, until none is left to fail."""
    new = {"a": b"new a", "b": b"new b", "record.json": b"new"}
    for step in range(100):
        folder = tmp_path / writing.__name__ / str(step) / "out"
        for name, data in before.items():
            write_bytes(folder / name, data)
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, step, lasting=False)
            try:
                with writing(folder) as temporary:
                    for name, data in new.items():
                        write_bytes(temporary / name, data)
            except UserError as error:
                assert "No space left" in str(error)
                assert str(folder) in str(error)
                assert "what was there before is unchanged" in str(error)
                assert content(folder.parent) == {f"out/{name}": data for name, data in before.items()}
        if not disk.failed:
            break
    assert step > 8
    left = before if writing is replacing_files else {}
    assert content(folder.parent) == {f"out/{name}": data for name, data in (left | new).items()}
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("writing", [replacing_files, replacing_folder])
def test_what_cannot_be_put_back_is_not_removed(tmp_path, writing):
    for step in range(100):
        folder = tmp_path / writing.__name__ / str(step) / "out"
        write_bytes(folder / "a", b"old a")
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, step, lasting=True)
            try:
                with writing(folder) as temporary:
                    write_bytes(temporary / "a", b"new a")
            except UserError:
                assert b"old a" in content(folder.parent).values()
        if not disk.failed:
            break
    assert step > 5


def test_the_record_takes_its_place_last(tmp_path, monkeypatch):
    moved, rename = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: moved.append(Path(target).name) or rename(self, target))
    with replacing_files(tmp_path / "out") as folder:
        for name in ("record.json", "z", "a"):
            (folder / name).touch()
    assert moved == ["a", "z", "record.json"]
