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
    shutil.copy(ROOT / "dvc.yaml", folder)
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


def test_a_map_method_is_one_file(tree):
    (tree / "pipeline/cams/methods/strongest.py").write_text(code("A new map method"))
    (tree / "data/synthetic").mkdir(parents=True)
    small = {"classes": 2, "train_per_class": 12, "test_per_class": 3, "image_size": 64}
    write_params(
        tree, extract_cams__method="strongest", prepare__synthetic=small, train__epochs=1, train__resize=64,
        train__crop=64, train__batch_size=8, train__backbone="squeezenet1_1", train__pretrained=False,
    )  # fmt: skip
    for stage in ("prepare", "train", "extract_cams"):
        done = pipeline(tree, stage, WSOL_STATE=str(tree / "state"))
        assert done.returncode == 0, done.stderr
    maps = np.load(tree / "cams/test/00000.npz")["maps"]
    assert maps.shape[:2] == (6, 2)
    assert (maps[:, 0] == maps[:, 1]).all() and maps.max() > 0
