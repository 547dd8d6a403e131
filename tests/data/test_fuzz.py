"""Damaged files of every kind, drawn by a seed: each is read, or named in an error of the user's; nothing hangs."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.checks import inspect_images
from pipeline.data.images import read_image
from pipeline.data.mask_files import read_mask
from pipeline.data.sets import cub
from pipeline.data.source import Sample, Source
from pipeline.data.text_lists import read_text_boxes, read_text_masks
from pipeline.errors import DataError, UserError
from pipeline.files import LABELLED, PREPARED
from pipeline.params import load_params
from pipeline.scoring.score import Protocol, score
from pipeline.stages import prepare
from tests.data.hostile import PHOTO, READ, encoded
from tests.data.make_cub import write_cub
from tests.data.settings import prepare_settings
from tests.sample_result import write_params

pytestmark = pytest.mark.timeout(60)
#: Bytes that mean something to readers of text and of binary files.
TELLING = [0, 1, 9, 10, 13, 32, 44, 45, 47, 57, 127, 128, 192, 255]


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One of: cut short, some bytes changed (mostly in the header), a piece doubled, a piece taken out."""
    content, start = bytearray(data), int(rng.integers(len(data)))
    end = min(len(data), start + int(rng.integers(1, 40)))
    match rng.integers(4):
        case 0:
            return data[:start]
        case 1:
            return data[:end] + data[start:]
        case 2:
            return data[:start] + data[end:]
    for _ in range(rng.integers(1, 4)):
        position = int(rng.integers(min(len(data), 80 if rng.random() < 0.7 else len(data))))
        content[position] = rng.choice(TELLING) if rng.random() < 0.5 else rng.integers(256)
    return bytes(content)


def is_read(read, path: Path) -> bool:
    try:
        read(path)
    except DataError as error:
        assert path.name in str(error)
        return False
    return True


@pytest.mark.parametrize("kind", [*READ, "progressive", "palette"])
def test_what_prepare_accepts_of_damaged_images_is_read_by_all_and_the_rest_is_named(tmp_path, kind):
    rng = np.random.default_rng(len(kind))
    options = {"progressive": ("JPEG", PHOTO, True), "palette": ("PNG", PHOTO.quantize(16), False)}
    name, image, progressive = options.get(kind, (kind, PHOTO, False))
    whole = encoded(name, image, progressive=True) if progressive else encoded(name, image)
    for number in range(60):
        (tmp_path / f"{number:02d}.jpg").write_bytes(damaged(whole, rng) if number else whole)
    samples = [Sample(path.stem, path.name, "train", (0,)) for path in sorted(tmp_path.iterdir())]
    good = []
    for sample in samples:
        try:
            (fact,), _ = inspect_images(Source(tmp_path, ("a",), [sample]))
        except DataError as error:
            assert f"1 of 1 images cannot be used:\n  {tmp_path / sample.path}: " in str(error)
            continue
        good.append(sample.path)
        assert read_image(tmp_path / sample.path, upright=False).shape == (fact.height, fact.width, 3)
    assert "00.jpg" in good
    assert len(good) < 60
    assert [s.path for s in samples if is_read(lambda path: read_image(path, upright=False), tmp_path / s.path)] == good
    assert all(is_read(lambda path: read_mask(path, 8), tmp_path / path) for path in good)


@pytest.mark.parametrize("name", ["images", "image_class_labels", "train_test_split", "bounding_boxes", "classes"])
def test_damaged_lists_of_a_data_set_are_read_or_named(tmp_path, name):
    rng = np.random.default_rng(len(name))
    path = write_cub(tmp_path / "cub") / f"{name}.txt"
    whole, refused = path.read_bytes(), 0
    for _ in range(60):
        path.write_bytes(damaged(whole, rng))
        try:
            cub.read_source(prepare_settings(tmp_path / "cub"), tmp_path)
        except DataError as error:
            refused += 1
            assert ".txt" in str(error)
    assert refused


def test_nothing_is_written_for_a_data_set_that_is_refused(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, prepare__dataset="cub", prepare__root="cub")
    write_cub(tmp_path / "cub")
    files = sorted(path for path in (tmp_path / "cub").rglob("*") if path.is_file())
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, rng))
        try:
            prepare.run(load_params())
            shutil.rmtree(PREPARED)
            shutil.rmtree(LABELLED)
        except DataError:
            assert not PREPARED.exists()
            assert not [place for place in PREPARED.parent.iterdir() if place.is_dir()]
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["image_ids", "image_sizes", "localization", "masks"])
def test_damaged_lists_of_a_truth_are_read_or_named(tmp_path, name):
    rng = np.random.default_rng(len(name))
    ids = [f"d{k}/x, y.jpg" for k in range(5)]
    lists = {
        "image_ids": "".join(f"{k}\n" for k in ids),
        "image_sizes": "".join(f"{k},224,224\n" for k in ids),
        "localization": "".join(f"{k},50,50,150,150\n" for k in ids),
        "masks": "".join(f"{k},m.png,\n" for k in ids),
    }
    (tmp_path / "m.png").write_bytes(encoded("PNG"))
    for _ in range(60):
        for file, text in lists.items():
            changed = damaged(text.encode(), rng) if file == name else text.encode()
            (tmp_path / f"{'localization' if file == 'masks' and name == 'masks' else file}.txt").write_bytes(changed)
        try:
            _ = read_text_masks(tmp_path, None) if name == "masks" else read_text_boxes(tmp_path)
        except UserError as error:
            assert ".txt" in str(error) or "masks do not exist" in str(error)


@pytest.mark.parametrize("kind", ["npy", "stack", "named", "packed"])
def test_damaged_maps_are_scored_or_named(tmp_path, kind):
    rng = np.random.default_rng(len(kind))
    ids, maps = ["a", "b"], rng.random((2, 5, 5), np.float32)
    for name, line in (("image_ids", ""), ("image_sizes", ",9,9"), ("localization", ",1,1,5,5")):
        (tmp_path / f"{name}.txt").write_text("".join(f"{k}{line}\n" for k in ids))
    (tmp_path / "maps").mkdir()
    path = tmp_path / "maps" / ("a.npy" if kind == "npy" else "0.npz")
    match kind:
        case "npy":
            np.save(path, maps[0])
            np.save(tmp_path / "maps/b.npy", maps[1])
        case "stack":
            np.savez(path, image_ids=np.array(ids), maps=maps)
        case "named":
            np.savez(path, a=maps[0], b=maps[1])
        case "packed":
            np.savez_compressed(path, image_ids=np.array(ids), maps=maps)
    whole, refused = path.read_bytes(), 0
    for _ in range(60):
        path.write_bytes(damaged(whole, rng))
        try:
            assert score(tmp_path / "maps", tmp_path, Protocol(interval=0.1))["images"] == 2
        except UserError as error:
            refused += 1
            assert path.name in str(error) or "maps and truth do not match" in str(error)
    assert refused
