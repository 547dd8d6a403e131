"""What was seen of a file is kept while the file is unchanged, and never longer."""

import os

import cv2
import numpy as np
import pytest

from pipeline.data import images
from pipeline.data.checks import inspect_images
from pipeline.data.memory import Memory
from pipeline.data.source import Sample, Source
from pipeline.errors import DataError


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    root = tmp_path / "data"
    root.mkdir()
    for name in "abc":
        cv2.imwrite(str(root / f"{name}.png"), np.full((20, 30 + ord(name), 3), ord(name), np.uint8))
    return Source(root, ("x",), [Sample(name, f"{name}.png", "train", (0,), ((1, 2, 9, 9),)) for name in "abc"])


@pytest.fixture
def decoded(monkeypatch):
    """How many images were decoded since."""
    numbers, decode = [], images.decode
    monkeypatch.setattr(images, "decode", lambda data, *args: numbers.append(len(data)) or decode(data, *args))
    return numbers


def test_unchanged_images_are_not_decoded_again_and_say_the_same(source, decoded):
    first, _ = inspect_images(source)
    assert len(decoded) == 3
    again, _ = inspect_images(source)
    assert (len(decoded), again) == (3, first)


@pytest.mark.parametrize("change", ["content", "same size and time", "replaced"])
def test_a_changed_image_is_decoded_again(source, decoded, change):
    before, _ = inspect_images(source)
    path = source.root / "b.png"
    status, other = path.stat(), path.with_name("other.png")
    cv2.imwrite(str(other), np.full((20, 30 + ord("b"), 3), 1, np.uint8))
    content = other.read_bytes()
    if change == "replaced":
        other.replace(path)
    else:
        path.write_bytes(content)
    if change == "same size and time":
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after, _ = inspect_images(source)
    assert len(decoded) == 4
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_what_cannot_be_used_is_looked_at_each_time(source, decoded):
    inspect_images(source)
    (source.root / "a.png").write_bytes(b"no image")
    for _ in range(2):
        with pytest.raises(DataError, match=r"a\.png: not an image file"):
            inspect_images(source)


def test_what_was_seen_before_a_kill_is_kept(source, decoded, monkeypatch):
    monkeypatch.setattr("pipeline.data.memory._AT_ONCE", 1)
    memory = Memory()
    assert memory.recall(source.root / "a.png", "side", lambda: [1, None, "é"]) == [1, None, "é"]
    # The process is killed here: nothing is closed.
    assert Memory().recall(source.root / "a.png", "side", lambda: pytest.fail("asked again")) == [1, None, "é"]
    assert Memory().recall(source.root / "a.png", "other", lambda: 2) == 2


def test_a_damaged_memory_costs_a_warning_and_time(source, tmp_path, decoded, capsys):
    first, _ = inspect_images(source)
    (tmp_path / "state/seen.db").write_bytes(b"x" * 5000)
    assert inspect_images(source)[0] == first
    assert len(decoded) == 6
    assert "seen.db" in capsys.readouterr().err
