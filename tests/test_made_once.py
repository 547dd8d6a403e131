"""What several processes of a test run share is made by one of them, whole or not at all."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.made_once import made_once


class Factory:
    """Stands in for pytest's; each process of xdist has its own folder in that of the run."""

    def __init__(self, base):
        self.base = base
        base.mkdir()

    def getbasetemp(self):
        return self.base


def make(folder):
    with (folder.parent / "makers").open("a") as stream:
        stream.write(".")
    (folder / "file").write_text("whole")


def test_processes_of_a_run_share_what_the_first_one_made(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    factories = [Factory(tmp_path / f"popen-gw{number}") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda factory: made_once(factory, "thing", make), factories))
    (folder,) = folders
    assert (folder / "file").read_text() == "whole"
    assert (tmp_path / "makers").read_text() == "."


def test_without_xdist_nothing_is_shared_with_another_run(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    for name in ("pytest-1", "pytest-2"):
        assert made_once(Factory(tmp_path / name), "thing", make).parent == tmp_path / name


def test_what_could_not_be_made_is_made_anew_by_the_next_one(tmp_path):
    factory = Factory(tmp_path / "base")

    def fail(folder):
        (folder / "file").write_text("half")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        made_once(factory, "thing", fail)
    assert (made_once(factory, "thing", make) / "file").read_text() == "whole"
