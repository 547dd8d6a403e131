"""Text lists of images, a line each, as data sets and benchmarks publish them."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.data.names import CONTROL
from pipeline.errors import DataError


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""``(number, line)`` of every line that is not blank; only ``\n`` or ``\r\n`` ends one.

    ``str.splitlines`` would cut names at U+2028 and a few more. Blanks stay: names may begin, end or be written with
    them. A byte order mark is dropped.

    Raises:
        DataError: it is not a regular file, not UTF-8, or a line holds a control character.
    """
    if not path.is_file():
        raise DataError(f"{path.absolute()} is not a regular file; put the list itself there.")
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as stream:
            for number, text in enumerate(stream, start=1):
                line = text.removesuffix("\n").removesuffix("\r")
                if CONTROL.search(line.replace("\t", "")):
                    raise DataError(f"{path}:{number}: {line!a} holds a control character; take it out.")
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}. Convert it, for example with iconv.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Restore it and run again.") from None
