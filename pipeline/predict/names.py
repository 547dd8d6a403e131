"""Names of output files, from names that anybody may have chosen."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

_LONGEST = 80


def unique_names(names: Sequence[str]) -> list[str]:
    """A file name without suffix for each name: letters, digits, ``_``, ``-`` and ``.``, all different."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    unique = []
    for name in names:
        stem = re.sub(r"[^\w\-.]", "_", PurePosixPath(name).stem)[:_LONGEST].lstrip(".") or "image"
        # Upper and lower case are one name on some disks.
        key = candidate = stem
        while candidate.lower() in taken:
            counts[key.lower()] = counts.get(key.lower(), 1) + 1
            candidate = f"{stem}-{counts[key.lower()]}"
        taken.add(candidate.lower())
        unique.append(candidate)
    return unique
