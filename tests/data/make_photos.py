"""A tiny folder of photos, one bright square in each."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

CLASSES = ("cats", "dogs")
SIZE = (60, 40)


def write_photos(root: Path, per_class: int = 10, prefix: str = "") -> dict[str, tuple[int, int, int, int]]:
    """``ROOT/PREFIX/CLASS/NUMBER.jpg``; gives the corners of the square in each by its path below the root."""
    rng = np.random.default_rng(len(prefix))
    squares = {}
    for label, name in enumerate(CLASSES):
        for number in range(per_class):
            pixels = rng.integers(0, 90, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
            x, y = int(rng.integers(2, 30)), int(rng.integers(2, 15))
            pixels[y : y + 20, x : x + 25] = (250, 40, 40) if label else (40, 40, 250)
            path = Path(prefix, name, f"{number}.jpg")
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / path), pixels)
            squares[path.as_posix()] = (x, y, x + 25, y + 20)
    return squares


def turn_photo(path: Path, tag: int) -> None:
    """Give a photo an orientation tag; its stored pixels stay as they are."""
    image = Image.open(path)
    image.load()
    exif = image.getexif()
    exif[0x0112] = tag
    image.save(path, exif=exif, quality=95)
