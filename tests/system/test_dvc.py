"""DVC's files as people, merges and other tools leave them."""

import json
import subprocess

import pytest
import yaml

from pipeline.errors import UserError
from pipeline.system.dvc import Holder, code_files, forget_ended_holders, outputs, path_locks, read_lock, read_stages

HASH = "0123456789abcdef" * 2
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1234\n"
CONFLICT = "<<<<<<< HEAD\nstages: {}\n=======\nstages: {}\n>>>>>>> b\n"


def entry(**out):
    return yaml.safe_dump({"schema": "2.0", "stages": {"train": {"cmd": "x", "outs": [out]}}})


def test_entries_are_as_they_stand_in_the_file(tmp_path):
    (tmp_path / "dvc.lock").write_text(entry(path="models", hash="md5", md5=f"{HASH}.dir", nfiles=3))
    stage = {"cmd": "x", "outs": [{"path": "models", "hash": "md5", "md5": f"{HASH}.dir", "nfiles": 3}]}
    assert read_lock(tmp_path / "dvc.lock") == {"train": stage}
    assert list(outputs(stage)) == ["models"]


@pytest.mark.parametrize("text", [None, "", "\n# nothing\n"])
def test_a_lock_file_that_is_missing_or_empty_has_no_entries(tmp_path, text):
    if text is not None:
        (tmp_path / "dvc.lock").write_text(text)
    assert read_lock(tmp_path / "dvc.lock") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (POINTER, "pointer of Git LFS.*git lfs pull"),
        (CONFLICT, "merge conflict.*git checkout --ours"),
        ("schema: '2.0'\nstages:\n  prepare:\n", r"stages\.prepare: .* Restore it with `git checkout dvc\.lock`"),
        ("stages: {train: {outs: }}", r"stages\.train\.outs"),
        ("stages: {train: {outs: [models]}}", r"stages\.train\.outs\.0"),
        ("stages: [", "expected the node content"),
        ("stages: 3", "stages: "),
        ("[1, 2]", "its content: "),
        ("other: {}", "stages: Field required"),
        (entry(path="models", md5="../../etc/passwd"), r"stages\.train\.outs\.0\.md5"),
        (entry(path="models", md5=HASH.upper()), r"outs\.0\.md5"),
    ],
)
def test_a_lock_file_of_another_kind_is_named_with_the_way_out(tmp_path, text, message):
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(UserError, match=rf"(?s)^{tmp_path}/dvc\.lock (is|holds) .*{message}"):
        read_lock(tmp_path / "dvc.lock")


HOSTILE = {
    "a date as a key": "stages: {train: {outs: [], 2001-01-01: x}}",
    "a date as a value": "stages: {train: {params: {params.yaml: {a: 2001-01-01}}}}",
    "keys of two types": "stages: {train: {params: {1: a, b: c}}}",
    "deep nesting": "stages: {train: " + "[" * 5000 + "]" * 5000 + "}",
    "aliases": "stages: {train: {params: " + "{a0: &a0 [x], " + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 30)}], " for n in range(1, 9)
    ) + "}}}",
    "itself": "stages: {train: {params: &a [*a]}}",
    "binary data": "stages: {train: {params: !!binary aGk=}}",
    "a number that nobody writes": "stages: {train: {params: 0x" + "f" * 9999 + "}}",
    "a day that is not": "stages: {train: {params: 2001-99-99}}",
    "a number as outputs": "stages: {train: {metrics: 5}}",
    "a text as outputs": "stages: {train: {plots: a}}",
    "size": "stages: {train: {params: " + "x" * 2_100_000 + "}}",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(("name", "read"), [("dvc.lock", read_lock), ("dvc.yaml", read_stages)])
def test_hostile_files_are_refused_by_name(tmp_path, name, read, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=rf"{name} is not a (lock file|pipeline) of DVC") as refused:
        read(tmp_path / name)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"stages: {a: {cmd: \x00}}"])
def test_bytes_that_are_no_text_are_refused(tmp_path, content):
    (tmp_path / "dvc.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"dvc\.yaml is not a pipeline of DVC"):
        read_stages(tmp_path / "dvc.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CONFLICT, "merge conflict"),
        ("", "its content: "),
        ("stages: {train: }", r"stages\.train: "),
        ("stages: {train: {deps: a}}", r"stages\.train\.deps: "),
        ("stages: {train: {deps: [3]}}", r"stages\.train\.deps\.0"),
    ],
)
def test_a_pipeline_of_another_kind_is_named_with_the_way_out(tmp_path, text, message):
    (tmp_path / "dvc.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"(?s)dvc\.yaml (is|holds) .*{message}.*git checkout"):
        read_stages(tmp_path / "dvc.yaml")


def test_outputs_and_code_of_a_stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pipeline/a.py", "pipeline/sub/b.py", "pipeline/sub/c.txt", "other.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    stage = {"deps": ["pipeline/a.py", "pipeline/sub", "other.py", {"pipeline/x": {}}]}
    assert [str(path) for path in code_files([stage, stage])] == ["pipeline/a.py", "pipeline/sub/b.py"]
    stage = {"outs": ["models", {"cams": {"cache": True}}], "metrics": [{"m.json": {}}], "plots": ["p.csv"]}
    assert list(outputs(stage)) == ["models", "cams", "m.json", "p.csv"]


def test_the_processes_that_dvc_noted(tmp_path):
    one, two = {"pid": 1, "cmd": "dvc repro"}, {"pid": 2, "cmd": "dvc gc"}
    (tmp_path / "rwlock").write_text(json.dumps({"read": {"/x": [one]}, "write": {"/y": two}}))
    assert path_locks(tmp_path / "rwlock") == [Holder(**one), Holder(**two)]
    (tmp_path / "rwlock").write_text("{}")
    assert path_locks(tmp_path / "rwlock") == path_locks(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 99_999,
        '{"write": {"/": {"pid": -1, "cmd": ""}}}',
        '{"read": {"/x',
        "[]",
        "null",
        '{"read": {"/x": {"pid": 1}}}',
        '{"write": {"/": 3}}',
    ],
)
def test_damaged_notes_are_named_with_the_way_out(tmp_path, text):
    (tmp_path / "rwlock").write_text(text)
    with pytest.raises(UserError, match=r"rwlock is damaged: (?s:.*) remove it: `rm .*rwlock`"):
        path_locks(tmp_path / "rwlock")


def noted(path, pid, command):
    path.write_text(json.dumps({"read": {}, "write": {"models": {"pid": pid, "cmd": command}}}))


def test_notes_of_processes_that_have_ended_are_forgotten(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    path = tmp_path / "rwlock"
    noted(path, ended.pid, "dvc repro train")
    forget_ended_holders(path)
    assert not path.exists()
    forget_ended_holders(path)


@pytest.mark.parametrize(("command", "kept"), [("x/dvc/__main__.py 30", True), ("x/dvc/__main__.py repro", False)])
def test_a_process_with_the_id_of_another_is_not_that_one(tmp_path, command, kept):
    running = subprocess.Popen(["sleep", "30"])
    try:
        path = tmp_path / "rwlock"
        noted(path, running.pid, command)
        forget_ended_holders(path)
        assert path.exists() is kept
    finally:
        running.kill()
        running.wait()
