"""Images whose files have the same content: across splits they make the test easier, with two labels one is wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pipeline import console
from pipeline.data.source import Sample
from pipeline.data.tree import NAMED

_KINDS = {"splits": "lie in more than one split", "labels": "have more than one label"}


def find_equal(samples: Sequence[Sample], contents: Sequence[str]) -> dict[str, Any]:
    """Groups of images with equal content that lie in several splits, or have several labels.

    Args:
        samples: all images, with their final splits.
        contents: the hash of each one's file.

    Returns:
        For ``splits`` and ``labels``: the number of such ``groups``, and of the first ten the ``image_ids``.
    """
    repeated = pd.Series(contents, dtype=object).duplicated(keep=False).to_numpy()
    rows = [
        (content, s.image_id, s.split, tuple(sorted(s.labels)))
        for s, content, again in zip(samples, contents, repeated, strict=True)
        if again
    ]
    groups = pd.DataFrame(rows, columns=["content", "image_id", "splits", "labels"]).groupby("content", sort=False)
    found = {kind: [g["image_id"].tolist() for _, g in groups if g[kind].nunique() > 1] for kind in _KINDS}
    return {kind: {"groups": len(ids), "image_ids": ids[:NAMED]} for kind, ids in found.items()}


def warn_of_equal(found: Mapping[str, Any]) -> None:
    """Say what :func:`find_equal` found, if anything."""
    for kind, meaning in _KINDS.items() if found else ():
        count, named = found[kind]["groups"], found[kind]["image_ids"]
        if named:
            listed = "; ".join(" = ".join(ids[:NAMED]) for ids in named)
            more = f"; … and {count - len(named)} more" if count > len(named) else ""
            console.warn(
                f"{count} groups of images have the same content and {meaning} (by id): {listed}{more}. "
                "Take all but one of each out of the data set's lists."
            )
