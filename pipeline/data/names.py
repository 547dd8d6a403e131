"""Names of images: which may be used as a path below a root, and which look alike without being equal."""

import re
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

#: Control characters, and bytes of a file's name that are not UTF-8: no list, log or lock file can carry them.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def shown(name: str) -> str:
    """A name as a message can print it: with escapes where it holds what a terminal or a log cannot show."""
    return ascii(name) if CONTROL.search(name) else name


def path_flaw(path: str) -> str:
    """Why a path from an annotation file cannot be one below the image root; empty where it can."""
    if CONTROL.search(path):
        return "its name holds a control character or bytes that are not UTF-8"
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        return "the path leads out of the image root"
    return ""


def similar(missing: Iterable[str], present: Collection[str]) -> str:
    """A sentence on the missing names that differ from one present in a way that cannot be seen; empty without any.

    File systems and archives change names between the composed (NFC) and the decomposed (NFD) form of a letter.
    """
    looks = {_look(name): name for name in present}
    pairs = [(name, looks[_look(name)]) for name in missing if _look(name) in looks]
    if not pairs:
        return ""
    name, other = pairs[0]
    what = "Unicode form (composed or decomposed letters)" if _nfc(name) == _nfc(other) else "their blanks"
    return f"{len(pairs)} of them exist under a name that differs only in {what}: {name!a} is there as {other!a}"


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _look(name: str) -> str:
    return " ".join(_nfc(name).split())
