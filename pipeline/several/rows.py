"""Images with several classes as rows of one class each, for whatever shows or compares one class at a time."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from pipeline.data.manifest import Dataset
from pipeline.evaluation.class_scorer import row_id
from pipeline.several.maps import Shard


def by_class(dataset: Dataset, split: str) -> pd.DataFrame:
    """A row for each class that an image shows, in the order of ``per_image.parquet`` and with its ids.

    Columns are ``image_id`` (of the row), ``image`` (the image's own), ``path``, ``width``, ``height`` and ``boxes``.
    """
    rows = [
        {
            "image_id": row_id(image_id, dataset.classes[label]),
            "image": image_id,
            "path": image.path,
            "width": image.width,
            "height": image.height,
            "boxes": image.boxes_of(label).tolist(),
        }
        for image_id, image in dataset.images(split).items()
        for label in sorted(image.labels)
    ]
    return pd.DataFrame(rows)


def shown_classes(dataset: Dataset, shards: Iterable[Shard]) -> Iterator[Shard]:
    """Shards of maps or boxes with a row for each map, as those of images that have this one label."""
    names = np.array(dataset.classes)
    for shard in shards:
        images, classes = np.repeat(shard["image_ids"], shard["counts"]), shard["classes"]
        ids = [row_id(image_id, name) for image_id, name in zip(images, names[classes], strict=True)]
        rows = {name: array for name, array in shard.items() if name in ("boxes", "standards")}
        if "boxes" not in shard:
            rows |= {"maps": shard["maps"][:, None], "classes": np.stack([classes, classes], axis=1)}
        yield {"image_ids": np.array(ids)} | rows


def with_predictions(
    scored: pd.DataFrame, predictions: pd.DataFrame, rows: pd.DataFrame, dataset: Dataset
) -> pd.DataFrame:
    """``per_image.parquet`` with ``predicted`` and ``score``: the own class where it is predicted, else the likeliest.

    Args:
        predictions: of the same split, of each image the likeliest first.
        rows: as :func:`by_class` gives them.
    """
    names = np.array(dataset.classes)
    scored = scored.merge(rows[["image_id", "image"]], on="image_id", validate="one_to_one")
    likeliest = predictions.drop_duplicates("image_id").rename(columns={"image_id": "image"})
    scored = scored.assign(own=names[scored["label"]]).merge(likeliest, on="image", validate="many_to_one")
    scored["predicted"] = scored["own"].where(scored["found"], scored["predicted"])
    own = predictions.rename(columns={"image_id": "image"})[["image", "predicted", "score"]]
    scored = scored.drop(columns="score").merge(own, on=["image", "predicted"], validate="many_to_one")
    return scored.assign(top1_correct=scored["found"]).drop(columns=["own", "image"])
