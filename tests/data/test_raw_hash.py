"""The hash of the raw data: by content, read again only where something was touched."""

import os

import pytest

from pipeline.data import raw_hash as rawhash
from pipeline.data.raw_hash import raw_hash
from pipeline.errors import DataError


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "images/a.jpg").write_text("a")
    (folder / "b.txt").write_text("b")
    return folder


@pytest.mark.parametrize("change", ["content", "name", "removal", "addition"])
def test_any_change_of_the_data_changes_the_hash(data, change):
    before = raw_hash(data)
    match change:
        case "content":
            (data / "b.txt").write_text("longer")
        case "name":
            (data / "b.txt").rename(data / "c.txt")
        case "removal":
            (data / "b.txt").unlink()
        case "addition":
            (data / "images/c.jpg").write_text("")
    assert raw_hash(data) != before


def test_the_same_content_touched_or_elsewhere_has_the_same_hash(data):
    before = raw_hash(data)
    os.utime(data / "b.txt", (1, 1))
    assert raw_hash(data) == before
    assert raw_hash(data.rename(data.with_name("moved"))) == before


def test_untouched_files_are_not_read_again(data, monkeypatch):
    before = raw_hash(data)
    read = []
    monkeypatch.setattr(rawhash, "file_hash", lambda path: read.append(path) or "h")
    assert raw_hash(data) == before
    assert read == []
    os.utime(data / "b.txt", (1, 1))
    raw_hash(data)
    assert len(read) == 2


def test_a_single_file_is_a_data_set_too(data):
    before = raw_hash(data / "b.txt")
    (data / "b.txt").write_text("other")
    assert raw_hash(data / "b.txt") != before


def test_a_missing_folder_is_named(data):
    with pytest.raises(DataError, match="nothing"):
        raw_hash(data / "nothing")


def test_a_link_to_a_folder_is_refused_as_dvc_sees_no_change_behind_it(data, tmp_path):
    (data / "images").rename(tmp_path / "elsewhere")
    (data / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"images: a link to the folder .*elsewhere, behind which DVC sees no change"):
        raw_hash(data)


def test_a_change_behind_a_link_to_a_file_is_seen(data):
    (data / "link.jpg").symlink_to("images/a.jpg")
    before = raw_hash(data)
    (data / "images/a.jpg").write_text("other")
    assert raw_hash(data) != before
