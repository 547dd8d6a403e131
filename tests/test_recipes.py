"""The recipes of CONTRIBUTING, followed to the letter in a copy of the tree."""

import re
import shutil

import cv2
import numpy as np
import pytest

from tests.project import ROOT, pipeline
from tests.sample_result import write_params

RECIPES = (ROOT / "CONTRIBUTING.md").read_text()


def code(title: str) -> str:
    """The block of Python below a title."""
    section = RECIPES.split(f"## {title}\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return block


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_a_data_set_is_one_file(tree):
    (tree / "pipeline/data/sets/toy.py").write_text(code("A new data set"))
    (tree / "raw/pictures").mkdir(parents=True)
    for name in ("a", "b"):
        for number in range(10):
            cv2.imwrite(str(tree / f"raw/pictures/{name}{number}.png"), np.full((40, 40, 3), 20 * number, np.uint8))
    write_params(tree, prepare__dataset="toy", prepare__root="raw")
    done = pipeline(tree, "prepare", WSOL_STATE=str(tree / "state"))
    assert done.returncode == 0, done.stderr
    assert '"train": 8, "val": 4, "gate": 4, "test": 4' in done.stdout
    shutil.rmtree(tree / "raw/pictures")
    refused = pipeline(tree, "prepare", WSOL_STATE=str(tree / "state"))
    assert refused.returncode == 2
    assert "has no folder pictures" in refused.stderr
