"""``python -m pipeline download``: one data set, from the web or from a folder of archives, to a folder of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline import console
from pipeline.data.sets import find_dataset
from pipeline.download.archives import PUBLISHED, Archive, Published
from pipeline.download.fetch import fetch, verify
from pipeline.download.unpack import unpack
from pipeline.errors import DataError, UserError
from pipeline.files import replacing_folder
from pipeline.system.locks import exclusive_lock

#: In the folder of data sets: archives, whole or in part. They may be removed once their data set is unpacked.
ARCHIVES = ".archives"


def listing() -> None:
    """Print what can be had."""
    for name, one in PUBLISHED.items():
        login = "" if one.archives[0].address else "; --from FOLDER, as it asks for a login"
        console.say(f"{name:12}{_gigabytes(one)}; {one.licence}{login}")


def _gigabytes(published: Published) -> str:
    size = sum(archive.size for archive in published.archives)
    return f"{size / 1e9:.1f} GB" if size else "size not published"


def download(name: str, to: Path, mirror: str = "", folder: Path | None = None) -> Mapping[str, Any]:
    """Fetch, verify and unpack a data set.

    Args:
        to: folder of data sets; this one gets ``to/NAME``.
        mirror: address below which the archives lie under their names, in place of their authors'.
        folder: where the archives lie already; they are verified and read there.

    Returns:
        The settings that read it.

    Raises:
        UserError: there is no such data set, it needs a login, or something else is in its place.
        DataError: an archive is not the published one, or is damaged.
        TransientError: the server cannot be reached; the same call resumes.
    """
    if name not in PUBLISHED:
        raise UserError(f"download: {name!r} is not one of {', '.join(PUBLISHED)}.")
    published, place = PUBLISHED[name], to / name
    settings = {"prepare.dataset": name, "prepare.root": (place / published.root).as_posix()}
    to.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(to / ARCHIVES / f"{name}.lock", f"a download of {name}"):
        if place.exists():
            _check_there(name, place / published.root)
        else:
            console.say(f"{name}: {published.licence}\nCite: {published.cite}")
            paths = [_archive(one, name, to / ARCHIVES / name, mirror, folder) for one in published.archives]
            with replacing_folder(place) as work:
                for archive, path in zip(published.archives, paths, strict=True):
                    unpack(path, work / archive.into, nested=archive.nested)
                find_dataset(name).check_layout(work / published.root)
    console.say(
        f"{place} is complete. Read it with `python -m pipeline preset NAME "
        + " ".join(f"--set {key}={value}" for key, value in settings.items())
        + "`"
        + ("" if folder else f"; {to / ARCHIVES / name} may be removed.")
    )
    return settings


def _check_there(name: str, root: Path) -> None:
    try:
        find_dataset(name).check_layout(root)
    except DataError as error:
        raise UserError(f"{error} Move that folder away, and call download again.") from None


def _archive(archive: Archive, name: str, home: Path, mirror: str, folder: Path | None) -> Path:
    """The archive's verified file."""
    if folder is not None:
        path = folder / archive.name
        if not path.is_file():
            raise UserError(f"--from: {folder.absolute()} has no {archive.name}.")
        verify(archive, path)
        return path
    address = f"{mirror.rstrip('/')}/{archive.name}" if mirror else archive.address
    if not address:
        raise UserError(
            f"{name} is offered to those who have signed in: {PUBLISHED[name].licence}. Fetch {archive.name} there, "
            f"then `python -m pipeline download {name} --from FOLDER`."
        )
    if urlsplit(address).scheme not in ("http", "https"):
        raise UserError(f"--mirror: {mirror} is not an http(s) address.")
    path = home / archive.name
    if not path.exists():
        fetch(archive, address, path)
    return path
