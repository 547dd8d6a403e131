"""``index.html``: all predictions on one page to browse, without a server."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.files import replacing
from pipeline.predict.record import Prediction
from pipeline.schemas import ReliabilityRow

TEMPLATE = Path(__file__).with_name("page.html")
_HOLE, _RELIABILITY = "/*DATA*/", "/*RELIABILITY*/"


def write_page(
    path: Path,
    records: Iterable[Prediction],
    images: Sequence[str] | None,
    reliability: Sequence[ReliabilityRow] = (),
) -> None:
    """Write the page, record by record.

    Args:
        images: names of the pictures in ``images/`` beside it, one for each record; None where there are none.
        reliability: of the model: what scores were worth on test.
    """
    rows = _inert(json.dumps([row.model_dump() for row in reliability]))
    head, tail = TEMPLATE.read_text().replace(_RELIABILITY, rows).split(_HOLE)
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
