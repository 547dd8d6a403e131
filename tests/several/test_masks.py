import io

import numpy as np
from PIL import Image

from pipeline.data.mask_files import class_values
from pipeline.data.masks import MaskValues
from pipeline.several.masks import class_scores, mask_file, voc_palette

VALUES = MaskValues(ignored=(255,), classes=(1, 19))


def test_a_mask_file_holds_what_the_official_ones_hold():
    labels = np.array([[-1, 0, 1], [1, 1, -1]])
    data = mask_file(labels, VALUES)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "P"
        assert np.asarray(image).tolist() == [[0, 1, 19], [19, 19, 0]]
        assert np.asarray(image.convert("RGB"))[0].tolist() == [[0, 0, 0], [128, 0, 0], [128, 192, 0]]
    assert (class_values(data, VALUES) == labels).all()


def test_the_palette_is_that_of_the_challenge():
    assert voc_palette()[[0, 1, 2, 8, 15, 20, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [64, 0, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192],
    ]  # fmt: skip


def test_scores_are_fractions_of_the_standard():
    grey = np.stack([np.full((4, 4), value, np.uint8) for value in (100, 0)])
    scores = class_scores(grey, np.array([200.0, 0.0]), width=6, height=5)
    assert scores.shape == (2, 5, 6)
    assert (scores[0] == 0.5).all() and (scores[1] == 0).all()
