"""The embedded data set is the probe its docstring promises."""

import numpy as np

from pipeline.data.sets.synthetic import draw_scene, read_source, tight_box
from tests.data.settings import prepare_settings


def scenes(count=60, classes=6, size=96):
    return [draw_scene(np.random.default_rng([7, i]), i % classes, classes, size) for i in range(count)]


def test_the_part_is_small_and_on_the_body():
    for scene in scenes():
        assert not (scene.part & ~scene.body).any()
        assert 0.02 < scene.part.sum() / scene.body.sum() < 0.25


def test_objects_lie_anywhere_in_many_sizes():
    boxes = np.array([tight_box(scene.body) for scene in scenes()])
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    assert (np.ptp(centres, axis=0) > 30).all()
    assert sides.max() / sides.min() > 1.4
    assert ((boxes >= 0) & (boxes < 96)).all()


def test_tight_box_by_hand():
    mask = np.zeros((5, 6), bool)
    mask[1:3, 2:5] = True
    assert tight_box(mask) == (2, 1, 4, 2)


def settings(seed=0, gate_fraction=0.0):
    few = {"classes": 2, "train_per_class": 2, "test_per_class": 1, "image_size": 48}
    return prepare_settings(seed=seed, gate_fraction=gate_fraction, synthetic=few)


def test_the_same_seed_draws_the_same_files(tmp_path):
    contents = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        (tmp_path / name).mkdir()
        source = read_source(settings(seed), tmp_path / name)
        assert [sample.split for sample in source.samples] == ["train"] * 4 + ["test"] * 2
        contents.append({p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.png")})
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_no_two_splits_share_an_image(tmp_path):
    read_source(settings(gate_fraction=0.5), tmp_path)
    images = [path.read_bytes() for path in (tmp_path / "images").iterdir()]
    assert len(set(images)) == len(images) == 8


def test_masks_and_boxes_agree(tmp_path):
    import cv2

    source = read_source(settings(), tmp_path)
    for sample in source.samples:
        mask = cv2.imread(str(tmp_path / sample.masks.files[0]), cv2.IMREAD_GRAYSCALE) > 127
        assert sample.boxes == (tight_box(mask),)
