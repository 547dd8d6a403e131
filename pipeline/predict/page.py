"""``index.html``: all predictions on one page to browse, without a server."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.files import replacing
from pipeline.predict.record import Prediction

TEMPLATE = Path(__file__).with_name("page.html")
_HOLE = "/*DATA*/"


def write_page(path: Path, records: Iterable[Prediction], images: Sequence[str] | None) -> None:
    """Write the page, record by record.

    Args:
        images: names of the pictures in ``images/`` beside it, one for each record; None where there are none.
    """
    head, tail = TEMPLATE.read_text().split(_HOLE)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.write(head)
        for text in _entries(records, images):
            stream.write(text)
        stream.write(tail)


def _entries(records: Iterable[Prediction], images: Sequence[str] | None) -> Iterator[str]:
    for number, record in enumerate(records):
        entry = {
            "p": record.path, "c": record.class_name, "q": round(record.probability, 4), "s": round(record.score, 4),
            "w": record.width, "h": record.height, "t": record.threshold, "e": record.error, "d": record.steps,
            "b": [[*(round(v, 1) for v in box.xyxy), round(box.score, 4)] for box in record.boxes],
            "i": f"images/{images[number]}.jpg" if images and not record.error else "",
        }  # fmt: skip
        yield _inert(json.dumps(entry)) + ",\n"


def _inert(text: str) -> str:
    """JSON that cannot end the script it stands in, whatever names it holds."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
