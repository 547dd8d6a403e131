"""A tiny PASCAL VOC in its official layout: red aeroplanes and blue trains on noise, in many images both."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipeline.several.masks import voc_palette

COLOURS = {"aeroplane": (40, 40, 250), "train": (250, 40, 40)}
#: Values of these classes in masks.
VALUES = {"aeroplane": 1, "train": 19}
OBJECT = """\
 <object><name>{name}</name><difficult>{difficult}</difficult>
  <bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>
"""


def write_voc(root: Path, images: int = 24, size: int = 48) -> Path:
    """A third shows an aeroplane, a third a train, a third both; all have masks, every fourth is val."""
    for name in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    stems = [f"{number:06d}" for number in range(images)]
    for number, stem in enumerate(stems):
        _write_image(root, stem, [("aeroplane",), ("train",), ("aeroplane", "train")][number % 3], size, rng)
    parts = {"train": [s for i, s in enumerate(stems) if i % 4], "val": stems[::4], "trainval": stems}
    for folder in ("Main", "Segmentation"):
        for name, listed in parts.items():
            (root / "ImageSets" / folder / f"{name}.txt").write_text("\n".join(listed) + "\n")
    return root


def _write_image(root: Path, stem: str, shown: Sequence[str], size: int, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 90, (size, size, 3), dtype=np.uint8)
    mask = np.zeros((size, size), np.uint8)
    objects = ""
    for place, name in enumerate(shown):
        x, y, side = 3 + place * size // 2, int(rng.integers(3, size // 2)), size // 3
        pixels[y : y + side, x : x + side] = COLOURS[name]
        mask[y - 1 : y + side + 1, x - 1 : x + side + 1] = 255
        mask[y : y + side, x : x + side] = VALUES[name]
        objects += OBJECT.format(name=name, difficult=0, x0=x + 1, y0=y + 1, x1=x + side, y1=y + side)
    cv2.imwrite(str(root / f"JPEGImages/{stem}.jpg"), pixels)
    write_mask(root / f"SegmentationClass/{stem}.png", mask)
    write_objects(root, stem, objects, size)


def write_mask(path: Path, mask: np.ndarray) -> None:
    """A palette PNG, as the official ones are."""
    path.parent.mkdir(exist_ok=True)
    image = Image.fromarray(mask)
    image.putpalette(voc_palette().tobytes())
    image.save(path)


def write_objects(root: Path, stem: str, objects: str, size: int = 48) -> None:
    """An annotation with some objects, as XML."""
    frame = f"<size><width>{size}</width><height>{size}</height><depth>3</depth></size>"
    text = f"<annotation><filename>%s.jpg</filename>\n{frame}\n{objects}</annotation>\n"
    (root / f"Annotations/{stem}.xml").write_text(text)
