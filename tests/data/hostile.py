"""Image files that libraries treat differently, or that are made to do harm."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
READ = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")


def encoded(kind: str, image: Image.Image = PHOTO, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned(kind: str) -> bytes:
    """A photo with the orientation tag of a camera that was held upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(kind, exif=exif)


def turned_tiff() -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x0112] = 6
    return encoded("TIFF", tiffinfo=tags)


def text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 20_000_000, zip=True)
    return encoded("PNG", pnginfo=info)


def claims(width: int, height: int) -> bytes:
    """A PNG of a hundred bytes that claims this size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def many_scans() -> bytes:
    """A progressive JPEG that repeats its last scan five hundred times."""
    data = encoded("JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 500 + data[-2:]


def too_large(path: Path) -> None:
    path.write_bytes(encoded("PNG"))
    os.truncate(path, (1 << 30) + 1)


REFUSED: dict[str, bytes] = {
    "turned_tiff": turned_tiff(),
    "sgi": encoded("SGI"),
    "tga": encoded("TGA"),
    "ico": encoded("ICO"),
    "dds": encoded("DDS"),
    "pcx": encoded("PCX"),
    "ppm": encoded("PPM"),
    "jpeg2000": encoded("JPEG2000"),
    "32_bit": encoded("TIFF", Image.fromarray(np.arange(2400, dtype=np.int32).reshape(40, 60))),
    "text_bomb": text_bomb(),
    "pixel_bomb": claims(60_000, 60_000),
    "larger_than_allowed": claims(10_001, 10_000),
    "many_scans": many_scans(),
    "empty": b"",
    "text": b"a line of text",
    "pickle": b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins\x94.",
}
#: What is not a file with content of its own; each makes one at the path it is given.
SPECIAL: dict[str, Callable[[Path], None]] = {
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path.name),
    "too_large": too_large,
}
