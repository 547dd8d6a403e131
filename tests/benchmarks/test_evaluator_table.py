"""The documents carry the figures of the evaluator's benchmark."""

import json

import pytest

from benchmarks.tables.evaluator import BEGIN, DOCUMENTS, END, SOURCE, filled


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_figures_are_those_of_one_run(path):
    document, table = path.read_text(), DOCUMENTS[path](json.loads(SOURCE.read_text()))
    assert "| 28×28, multi" in table
    assert filled(document, table) == document


def test_what_stands_around_the_comments_stays():
    assert filled(f"a\n{BEGIN}old\n{END}b\n", "new\n") == f"a\n{BEGIN}new\n{END}b\n"
