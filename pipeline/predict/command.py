"""The command ``predict``: from what the user named to a folder of boxes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.errors import UserError
from pipeline.predict.choice import load_model
from pipeline.predict.formats import check_formats, export
from pipeline.predict.output import Output
from pipeline.predict.predictor import Options, Predictor
from pipeline.predict.sources import drawn, find_sources, split_sources

#: Longest side in pixels of the pictures on the page.
PICTURE = 480
OUT = "predictions"


def predict(
    names: Sequence[str],
    model: str = "",
    out: Path | None = None,
    options: Options | None = None,
    device: str = "",
    wants: frozenset[str] = frozenset({"images"}),
    resume: bool = False,
    exports: Sequence[str] = (),
    save_model: Path | None = None,
    split: str = "",
    sample: int | None = None,
) -> dict[str, Any]:
    """Box images and write the output folder; returns what was done and where it is.

    Args:
        names: of the images: see :func:`pipeline.predict.sources.find_sources`.
        out: folder; ``predictions``, ``predictions2`` and so on if not given.
        wants: what is written besides the tables: see :class:`pipeline.predict.output.Output`.
        resume: continue ``out``.
        exports: names of formats: see :mod:`pipeline.predict.formats`.
        save_model: where to write the model as one file.
        split: of the data set here, whose images are boxed in place of ``names``.
        sample: box so many of the images, drawn at random; all of them if not given.

    Raises:
        UserError: no image could be read, or as the modules of this package have it.
    """
    options = options or Options()
    if resume and out is None:
        raise UserError("--resume: name the folder to continue by --out.")
    check_formats(exports)
    if bool(names) == bool(split):
        raise UserError("predict: name images, or a split of the data set here by --split; one of the two.")
    loaded = load_model(model, save_model)
    predictor = Predictor(loaded, options, device)
    sources = drawn(split_sources(split) if split else find_sources(names, loaded.facts.classes), sample)
    check_formats(exports, [source.place for source in sources if source.name and not source.is_address])
    settings = {"model": loaded.version, "threshold": predictor.threshold, "wants": sorted(wants),
                "threshold_source": loaded.facts.threshold_source if options.threshold is None else "given",
                "data": loaded.facts.data_hash, "code": loaded.facts.code, "class": options.class_from,
                "boxes": options.boxes, "conf": options.conf, "max_det": options.max_det,
                "classes": list(options.classes), "top": options.top, "batch_size": options.batch_size}  # fmt: skip
    output = Output(out or _fresh(Path(OUT)), settings, sources, options.batch_size, resume, wants)
    if output.done:
        console.say(f"{output.done} of {len(sources)} images were done before")
    keep: int | None = None if "crop" in wants else PICTURE if "images" in wants else 0
    left = sources[output.done :]
    each = (one for batch in _written(predictor, output, left, keep) for one in batch)
    for _ in console.progress(each, len(left), "boxes"):
        pass
    errors = 0
    first = ""
    for record in output.records():
        errors += bool(record.error)
        first = first or (f"{record.path}: {record.error}" if record.error else "")
    output.finish(loaded.facts.reliability)
    export(exports, output.folder, output.records, loaded.facts.classes, loaded.version)
    if errors == len(sources):
        raise UserError(f"none of {errors} images could be read; the first: {first}. See {output.folder}/worklist.csv.")
    if errors:
        console.warn(f"{errors} of {len(sources)} images have no prediction; the first: {first}")
    console.say(f"{len(sources) - errors} images: {(output.folder / 'index.html').absolute()}")
    return {"out": str(output.folder), "images": len(sources), "errors": errors, "model": loaded.version}


def _written(predictor: Predictor, output: Output, sources: Sequence[Any], keep: int | None) -> Any:
    for batch in predictor.stream(sources, keep):
        output.add(batch)
        yield batch


def _fresh(folder: Path) -> Path:
    """The first folder of this name that is not there, as ``predictions``, ``predictions2``."""
    number = 1
    while (place := folder if number == 1 else folder.with_name(f"{folder.name}{number}")).exists():
        number += 1
    return place
