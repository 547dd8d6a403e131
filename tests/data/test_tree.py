"""What may lie below a data set's root: what DVC sees, and nothing that would stop it."""

import os
import socket
from pathlib import Path

import pytest

from pipeline.data.tree import files_below
from pipeline.errors import DataError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data/a/b").mkdir(parents=True)
    for name in ("top.txt", "a/one.jpg", "a/b/two\u2028\u00a0.jpg"):
        (tmp_path / "data" / name).write_text("x")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("x")
    return tmp_path / "data"


def test_all_files_are_found_and_links_within_the_root_followed(root):
    (root / "link.jpg").symlink_to("a/one.jpg")
    assert sorted(files_below(root)) == ["a/b/two\u2028\u00a0.jpg", "a/one.jpg", "link.jpg", "top.txt"]


def test_the_root_may_be_a_link_or_a_file(root):
    link = root.with_name("link")
    link.symlink_to(root)
    (root / "link.jpg").symlink_to(root / "a/one.jpg")
    assert sorted(files_below(link)) == sorted(files_below(root))
    assert files_below(root / "top.txt") == [""]


def _socket(path):
    place = Path.cwd()
    os.chdir(path.parent)  # the path of a socket may have a hundred characters
    socket.socket(socket.AF_UNIX).bind(path.name)
    os.chdir(place)


ENTRIES = {
    "folder": (lambda path: path.symlink_to("../../outside"), "a link to the folder .*outside"),
    "folder inside": (lambda path: path.symlink_to("b"), "a link to the folder .*a/b"),
    "circle": (lambda path: path.symlink_to(".."), "a link to the folder .*"),
    "file outside": (lambda path: path.symlink_to("../../outside/file"), "a link to .*outside the data set"),
    "nowhere": (lambda path: path.symlink_to("nothing"), "a link to .*which is not a regular file"),
    "itself": (lambda path: path.symlink_to(path.name), "a link to .*which is not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a link to .*which is not a regular file"),
    "fifo": (os.mkfifo, "not a regular file"),
    "socket": (_socket, "not a regular file"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ENTRIES)
def test_what_dvc_cannot_follow_is_named(root, kind):
    make, reason = ENTRIES[kind]
    make(root / "a/odd")
    with pytest.raises(DataError, match=rf"1 entries below {root} cannot be .*\n  a/odd: {reason}"):
        files_below(root)


@pytest.mark.parametrize("name", [b"new\nline", b"latin-\xe9", b"del\x7f"])
def test_names_that_cannot_be_noted_are_shown_with_escapes(root, name):
    (root / os.fsdecode(name)).write_text("x")
    with pytest.raises(DataError, match="its name holds") as error:
        files_below(root)
    str(error.value).encode()
    assert len(str(error.value).splitlines()) == 3


def test_many_are_counted_and_ten_named(root):
    for number in range(13):
        os.mkfifo(root / f"{number:02d}")
    with pytest.raises(DataError, match="13 entries below") as error:
        files_below(root)
    assert str(error.value).count("not a regular file") == 10
    assert "… and 3 more" in str(error.value)
