"""Reading images and masks."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.data import images
from pipeline.data.images import batches, read_image, read_squashed
from pipeline.data.mask_files import read_mask
from pipeline.errors import DataError


def test_images_are_rgb_as_stored(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((4, 6, 3), (10, 20, 30), np.uint8))
    image = read_image(path, upright=False)
    assert image.shape == (4, 6, 3)
    assert image[0, 0].tolist() == [30, 20, 10]


def test_orientation_tags_are_not_applied(tmp_path):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90°
    Image.new("RGB", (60, 40)).save(path, exif=exif)
    assert read_image(path, upright=False).shape == (40, 60, 3)


def test_grey_images_have_three_channels(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((4, 6), 7, np.uint8))
    assert read_image(path, upright=False).shape == (4, 6, 3)


def test_squashed_to_a_square_channels_first(tmp_path):
    path = tmp_path / "a.png"
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 20:] = 200
    cv2.imwrite(str(path), image)
    squashed = read_squashed(path, 10, upright=False)
    assert squashed.shape == (3, 10, 10)
    assert (squashed[:, :, :5] == 0).all()
    assert (squashed[:, :, 5:] == 200).all()


def test_masks_are_nearest_neighbour_and_every_grey_value_but_zero_is_foreground(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.array([[0, 1], [127, 0]], np.uint8))
    assert read_mask(path, 4).astype(int).tolist() == [[0, 0, 1, 1]] * 2 + [[1, 1, 0, 0]] * 2


@pytest.mark.parametrize(
    ("name", "one"),
    [
        ("colour.png", np.array([1, 0, 0], np.uint8)),
        ("deep.png", np.array([3], np.uint16)),
        ("deep_colour.png", np.array([0, 0, 200], np.uint16)),
        ("opaque.png", np.array([0, 2, 0, 255], np.uint8)),
    ],
)
def test_numbers_in_masks_count_in_every_depth_and_colour(tmp_path, name, one):
    mask = np.zeros((2, 2, len(one)), one.dtype)
    mask[0, 1] = one
    if len(one) == 4:
        mask[:, :, 3] = 255
    cv2.imwrite(str(tmp_path / name), mask)
    assert read_mask(tmp_path / name, 2).tolist() == [[False, True], [False, False]]


def test_orientation_tags_of_masks_are_not_applied(tmp_path):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90°
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    mask.save(path, exif=exif)
    assert read_mask(path, 2).tolist() == [[True, False]] * 2


@pytest.mark.parametrize("read", [lambda path: read_image(path, upright=False), lambda path: read_mask(path, 8)])
def test_an_unreadable_file_is_named(tmp_path, read):
    (tmp_path / "a.png").write_text("no image")
    for name in ("a.png", "missing.png"):
        with pytest.raises(DataError, match=name):
            read(tmp_path / name)


def test_batches_keep_their_order_and_sizes(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(30)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((8, 8, 3), i, np.uint8))
    order = np.random.default_rng(0).permutation(30)
    groups = np.split(order, [8, 16, 24])
    found = [batch[:, 0, 0, 0].tolist() for batch in batches(paths, groups, 8, upright=False)]
    assert found == [group.tolist() for group in groups]


@pytest.mark.parametrize(("processes", "threads"), [(None, 8), ("1", 8), ("3", 2), ("16", 1)])
def test_processes_of_one_machine_share_its_cores(tmp_path, monkeypatch, processes, threads):
    started = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers):
            started.append(workers)
            super().__init__(workers)

    monkeypatch.setattr(images, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    assert len(list(batches([tmp_path / "a.png"], [np.array([0])], 8, upright=False))) == 1
    assert started == [threads]


def test_an_error_in_a_thread_reaches_the_caller(tmp_path):
    with pytest.raises(DataError, match="gone"):
        list(batches([tmp_path / "gone.png"], [np.array([0])], 8, upright=False))
