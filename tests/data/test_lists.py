"""Text lists: what ends a line, and what is not text."""

import os

import pytest

from pipeline.data.lists import read_lines
from pipeline.errors import DataError


def test_only_a_newline_ends_a_line_and_blanks_stay(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeff1  a\u00a0b \r\n\n \n2 c\u2028d\u3000\n3\te".encode())
    assert list(read_lines(path)) == [(1, "1  a\u00a0b "), (4, "2 c\u2028d\u3000"), (5, "3\te")]


@pytest.mark.parametrize("character", ["\0", "\x0b", "\x0c", "\x1c", "\x85", "\r"])
def test_control_characters_are_named_with_their_line(tmp_path, character):
    path = tmp_path / "list.txt"
    path.write_bytes(f"1 a\n2 b{character}c\n".encode())
    with pytest.raises(DataError, match=r"list\.txt:2: '2 b\\\S+c' holds a control character"):
        list(read_lines(path))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_only_regular_files_are_opened(tmp_path, make):
    make(tmp_path / "list.txt")
    with pytest.raises(DataError, match=r"list\.txt is not a regular file"):
        list(read_lines(tmp_path / "list.txt"))


def test_another_encoding_is_named(tmp_path):
    (tmp_path / "list.txt").write_bytes("1 Möwe\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"list\.txt is not UTF-8 text"):
        list(read_lines(tmp_path / "list.txt"))
