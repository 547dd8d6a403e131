"""Archives into a folder: nothing leaves it, nothing but files and folders is made, and none grows without end."""

import tarfile
from pathlib import Path
from typing import IO

from pipeline import console
from pipeline.errors import DataError, reason

#: Images hardly shrink: an archive of them that unpacks to more than so many times its size is made to fill the disk.
MOST_TIMES = 20
#: On top of that, for archives of annotations.
MOST_BYTES = 1 << 30


def unpack(archive: Path, to: Path, *, nested: bool = False) -> None:
    """Unpack a tar archive, however it is compressed.

    Args:
        nested: it holds archives, each of which is unpacked to a folder of its name.

    Raises:
        DataError: it is damaged, or holds links, devices, or names that lead out of the folder.
    """
    left = _Left(MOST_TIMES * archive.stat().st_size + MOST_BYTES)
    try:
        with archive.open("rb") as file:
            _unpack(file, to, left, archive.name, nested=nested)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DataError(f"{archive.absolute()} is damaged, or is not a tar archive: {reason(error)}.") from None


class _Left:
    """Bytes that may still be unpacked."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, size: int, where: str) -> None:
        self._left -= size
        if self._left < 0:
            raise DataError(f"{where} unpacks to far more than an archive of images may; it was left.")


def _unpack(file: IO[bytes], to: Path, left: _Left, name: str, *, nested: bool) -> None:
    to.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=file, mode="r|*") as tar:
        for member in console.progress(tar, None, f"unpacking {name}", "files"):
            if not (member.isfile() or member.isdir()):
                raise DataError(f"{name}: {member.name!r} is neither a file nor a folder; nothing of it was kept.")
            if not nested:
                left.take(member.size, name)
            elif member.isfile() and (inner := tar.extractfile(member)) is not None:
                _unpack(inner, to / Path(member.name).stem, left, f"{name}/{Path(member.name).name}", nested=False)
                continue
            try:
                tar.extract(member, to, filter="data")
            except tarfile.FilterError as error:
                raise DataError(f"{name}: {reason(error)}; nothing of it was kept.") from None
