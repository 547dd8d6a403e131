"""The folder that predictions are written to: complete and the same whether or not the work was interrupted.

``predictions.jsonl`` is the journal: a line per image, appended when all of its batch is done, after the batch's
pictures. What resumes cuts it back to whole batches and continues; everything else is made from it at the end.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.errors import UserError
from pipeline.evaluation.score_maps import FRAME, normalize_map, resize_map
from pipeline.files import Unwritable, replacing, write_bytes, write_json
from pipeline.predict.names import unique_names
from pipeline.predict.page import write_page
from pipeline.predict.pictures import overlay
from pipeline.predict.predictor import Image, Predicted
from pipeline.predict.record import Prediction
from pipeline.predict.sources import Source
from pipeline.schemas import ReliabilityRow

JOURNAL = "predictions.jsonl"
SETTINGS = "run.json"
COLUMNS = ("path", "class", "score", "probability", "map_mean", "x0", "y0", "x1", "y1", "width", "height", "threshold",
           "model", "error")  # fmt: skip
_ROWS = 10_000


class Output:
    """The folder of one run of ``predict``.

    Args:
        folder: to make, or to resume.
        settings: all that decides what is written; a folder of other settings is not resumed.
        sources: the images, in order.
        batch_size: images that are done together.
        resume: continue the folder where it exists.
        wants: what is written for each image: ``images``, ``txt``, ``conf``, ``crop``, ``maps``.

    Raises:
        UserError: the folder is there and may not be used, or cannot be written.
    """

    def __init__(
        self, folder: Path, settings: dict[str, Any], sources: Sequence[Source], batch_size: int, resume: bool,
        wants: frozenset[str],
    ) -> None:  # fmt: skip
        self.folder, self.sources, self.wants = folder, sources, wants
        self.names = unique_names([source.name for source in sources])
        listed = json.dumps([[source.place, source.label] for source in sources]).encode()
        self._settings = settings | {"images": len(sources), "sources": hashlib.sha256(listed).hexdigest()}
        with _writing(folder):
            self.done = self._opened(batch_size, resume)

    def _opened(self, batch_size: int, resume: bool) -> int:
        """Make or check the folder; how many images are done."""
        if not self.folder.exists() or (self.folder.is_dir() and not any(self.folder.iterdir())):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / SETTINGS, self._settings)
            return 0
        place = f"--out: {self.folder.absolute()}"
        if not resume:
            raise UserError(f"{place} exists already. Name another folder, or continue it with --resume.")
        settings = self.folder / SETTINGS
        if not settings.is_file():
            raise UserError(f"{place} was not made by predict: it has no {SETTINGS}. Name another folder.")
        try:
            known = json.loads(settings.read_bytes())
        except ValueError:
            raise UserError(f"{settings.absolute()} is damaged; name another folder.") from None
        now = json.loads(json.dumps(self._settings))
        if known != now:
            other = sorted(key for key in {*known, *now} if known.get(key) != now.get(key))
            raise UserError(
                f"{place} was made with another {', '.join(other)}; results are never mixed. Name another folder."
            )
        return self._cut_back(batch_size)

    def _cut_back(self, batch_size: int) -> int:
        """Cut the journal back to whole batches."""
        journal = self.folder / JOURNAL
        if not journal.exists():
            return 0
        ends: list[int] = []
        with journal.open("r+b") as stream:
            for line in iter(stream.readline, b""):
                if not line.endswith(b"\n"):
                    break
                ends.append(stream.tell())
            done = len(ends) if len(ends) == len(self.sources) else len(ends) // batch_size * batch_size
            stream.truncate(ends[done - 1] if done else 0)
        return done

    def add(self, batch: Sequence[Predicted]) -> None:
        """Write what belongs to a batch's images, then their records."""
        with _writing(self.folder):
            for number, predicted in enumerate(batch, start=self.done):
                if not predicted.record.error:
                    self._write_files(self.names[number], predicted)
            lines = "".join(predicted.record.model_dump_json() + "\n" for predicted in batch)
            with (self.folder / JOURNAL).open("ab") as stream:
                stream.write(lines.encode())
            self.done += len(batch)

    def _write_files(self, name: str, predicted: Predicted) -> None:
        record, image, score_map = predicted.record, predicted.image, predicted.score_map
        if "images" in self.wants and image is not None and score_map is not None:
            self._write_jpeg(f"images/{name}.jpg", image)
            self._write_jpeg(f"overlays/{name}.jpg", overlay(image, score_map, record))
        if "txt" in self.wants and record.boxes:
            self._write(f"labels/{name}.txt", yolo_lines(record, "conf" in self.wants).encode())
        if "maps" in self.wants and score_map is not None:
            buffer = io.BytesIO()
            np.save(buffer, normalize_map(resize_map(score_map, FRAME)).astype(np.float32))
            self._write(f"maps/{name}.npy", buffer.getvalue())
        if "crop" in self.wants and image is not None:
            folder = unique_names([record.class_name])[0]
            for number, box in enumerate(record.boxes):
                x0, y0, x1, y1 = _whole(box.xyxy, image, record)
                if x1 > x0 and y1 > y0:
                    self._write_jpeg(f"crops/{folder}/{name}-{number}.jpg", image[y0:y1, x0:x1])

    def _write_jpeg(self, place: str, image: Image) -> None:
        _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
        self._write(place, data.tobytes())

    def _write(self, place: str, data: bytes) -> None:
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def records(self) -> Iterator[Prediction]:
        """The records in the order of the sources, one in memory at a time."""
        with (self.folder / JOURNAL).open("rb") as stream:
            for line in stream:
                yield Prediction.model_validate_json(line)

    def finish(self, reliability: Sequence[ReliabilityRow] = ()) -> None:
        """Write the tables and the page from the journal; ``reliability`` is the model's."""
        with _writing(self.folder):
            _write_csv(self.folder / "predictions.csv", self.records())
            _write_parquet(self.folder / "predictions.parquet", self.records())
            images = self.names if "images" in self.wants else None
            write_page(self.folder / "index.html", self.records(), images, reliability)
            worst = sorted(
                ((r.score, r.path, r.class_name, r.error) for r in self.records()), key=lambda row: (row[0], row[1])
            )
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(("score", "path", "class", "error"))
            writer.writerows((f"{score:.6g}", *rest) for score, *rest in worst)
            write_bytes(self.folder / "worklist.csv", text.getvalue().encode())


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {folder.absolute()}: {error.strerror or error}. Make room there and run the same command "
            "with --resume; what is done is kept."
        ) from None
    except Unwritable as error:
        raise UserError(f"{error} The same command with --resume continues.") from None


def _whole(xyxy: tuple[float, ...], image: Image, record: Prediction) -> tuple[int, int, int, int]:
    """A box in the pixels of an image that may be shrunk."""
    across, down = image.shape[1] / record.width, image.shape[0] / record.height
    x0, y0, x1, y1 = (round(v * s) for v, s in zip(xyxy, (across, down) * 2, strict=True))
    return x0, y0, x1, y1


def yolo_lines(record: Prediction, conf: bool) -> str:
    """``class x-centre y-centre width height`` as shares of the image, with the score behind where it is wanted."""
    lines = []
    for box in record.boxes:
        x0, y0, x1, y1 = box.xyxy
        values = [(x0 + x1) / 2 / record.width, (y0 + y1) / 2 / record.height,
                  (x1 - x0) / record.width, (y1 - y0) / record.height] + ([box.score] if conf else [])  # fmt: skip
        lines.append(" ".join([str(record.class_index), *(f"{value:.6f}" for value in values)]) + "\n")
    return "".join(lines)


def _rows(record: Prediction) -> Iterator[tuple[Any, ...]]:
    """A row per box; one without a box where there is none."""
    facts = (record.width, record.height, record.threshold, record.model, record.error)
    for box in record.boxes:
        head = (record.path, record.class_name, box.score, record.probability, box.map_mean)
        yield (*head, *box.xyxy, *facts)
    if not record.boxes:
        probability = None if record.error else record.probability
        yield (record.path, record.class_name, None, probability, None, None, None, None, None, *facts)


def _write_csv(path: Path, records: Iterator[Prediction]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for record in records:
            writer.writerows([f"{v:.10g}" if isinstance(v, float) else v for v in row] for row in _rows(record))


def _write_parquet(path: Path, records: Iterator[Prediction]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = [
        pa.string(),
        pa.string(),
        *[pa.float64()] * 7,
        pa.int64(),
        pa.int64(),
        pa.float64(),
        pa.string(),
        pa.string(),
    ]
    schema = pa.schema(list(zip(COLUMNS, kinds, strict=True)))
    with replacing(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        rows: list[tuple[Any, ...]] = []
        for record in records:
            rows.extend(_rows(record))
            if len(rows) >= _ROWS:
                writer.write_table(_table(rows, schema))
                rows = []
        writer.write_table(_table(rows, schema))


def _table(rows: list[tuple[Any, ...]], schema: Any) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist([dict(zip(COLUMNS, row, strict=True)) for row in rows], schema)
