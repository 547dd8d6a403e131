"""One large file over HTTP: resumed after a break, verified while it streams, there only when it is whole."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.download.archives import Archive
from pipeline.errors import DataError, TransientError, UserError
from pipeline.files import Unwritable

#: Connections in a row that bring nothing new before the command gives up; another call resumes.
ATTEMPTS = 5
#: Seconds to wait after the first of them, twice as long after the second, and so on.
PAUSE = 2.0
#: A server that is silent for so long has gone away.
SILENCE = 60.0
_CHUNK = 1 << 20


def fetch(archive: Archive, address: str, to: Path) -> None:
    """Fetch an archive; what is there of a former call (``NAME.part``) is resumed.

    Raises:
        TransientError: the connection broke again and again, or the server is out of order for now.
        UserError: the server does not have it, or there is no space.
        DataError: what came is not what was published: its size or digest.
    """
    part = to.with_name(f"{to.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    while True:
        before = _size(part)
        try:
            _stream(archive, address, part)
            break
        except (TimeoutError, ConnectionError, http.client.HTTPException, urllib.error.URLError) as error:
            failures = failures + 1 if _size(part) == before else 0
            if failures >= ATTEMPTS:
                raise TransientError(
                    f"{address}: {getattr(error, 'reason', None) or error or type(error).__name__}. {_size(part):,} "
                    "bytes are kept; the same command resumes. --mirror names another server, --from a folder that has "
                    "the file."
                ) from None
            time.sleep(failures * PAUSE)
        except OSError as error:
            raise Unwritable(part, error) from None
    verify(archive, part)
    part.replace(to)


def verify(archive: Archive, path: Path) -> None:
    """Raise a DataError, and remove what was fetched, where a file is not what was published."""
    size = _size(path)
    found = _digest(path, archive) if archive.digest else ""
    if (archive.size and size != archive.size) or found != archive.digest:
        wrong = f"{size:,} bytes, {archive.size:,} expected"
        if found != archive.digest:
            wrong = f"{found}, published is {archive.digest}"
        if path.suffix == ".part":
            path.unlink()
        raise DataError(f"{archive.name} is not the published file: {wrong}. Fetch it again, or from another server.")


def _digest(path: Path, archive: Archive) -> str:
    kind = archive.digest.partition(":")[0]
    digest = hashlib.new(kind)
    with path.open("rb") as file:
        blocks = iter(lambda: file.read(_CHUNK), b"")
        for block in console.progress(blocks, -(-_size(path) // _CHUNK), f"verifying {archive.name}", "MiB"):
            digest.update(block)
    return f"{kind}:{digest.hexdigest()}"


def _stream(archive: Archive, address: str, part: Path) -> None:
    """Append what is missing; ConnectionError where the answer ends early."""
    have = _size(part)
    if have and have == archive.size:
        return
    with _open(address, have) as answer:
        if answer.status == 200 or not _starts_at(answer, have):
            have = 0  # it does not resume: from the start
        total = have + int(answer.headers.get("Content-Length") or 0)
        if archive.size and total not in (have, archive.size):
            raise DataError(
                f"{address} offers {total:,} bytes; {archive.name} has {archive.size:,}. It is another file: name a "
                "mirror that has the published one."
            )
        with part.open("ab" if have else "wb") as file:
            for block in console.progress(_blocks(answer), -(-(total - have) // _CHUNK), archive.name, "MiB"):
                file.write(block)
    if total > have and _size(part) < total:
        raise ConnectionError("the connection ended in the middle")


def _open(address: str, have: int) -> Any:
    headers = {"User-Agent": "wsol-pipeline"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(address, headers=headers)
    try:
        return urllib.request.urlopen(request, timeout=SILENCE)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left, or what is here is longer than the file: start over
            return urllib.request.urlopen(
                urllib.request.Request(address, headers={"User-Agent": "wsol-pipeline"}), timeout=SILENCE
            )
        if error.code in (408, 425, 429) or error.code >= 500:
            raise
        raise UserError(
            f"{address}: the server answers {error.code} {error.reason}. Name another server with --mirror, or a "
            "folder that has the file with --from."
        ) from None


def _starts_at(answer: Any, have: int) -> bool:
    return str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-")


def _blocks(answer: Any) -> Iterator[bytes]:
    return iter(lambda: answer.read(_CHUNK), b"")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
