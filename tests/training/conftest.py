"""Fixtures of the training tests."""

import pytest

from tests.training.trainings import two_colours


@pytest.fixture
def images(tmp_path):
    """Ten images of two plain colours."""
    return two_colours(tmp_path / "images")


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
