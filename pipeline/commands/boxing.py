"""Boxes for new images, and scores for maps of any code."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.commands.answers import Answer


def predict(
    source: Annotated[
        list[str],
        typer.Argument(help="image file, folder, glob, .txt or .csv list, http(s) address; - for a list on stdin"),
    ] = [],  # noqa: B006
    split: Annotated[
        Literal["", "val", "gate", "test"], typer.Option(help="in place of sources: this split of the data set here")
    ] = "",
    sample: Annotated[int | None, typer.Option(min=1, help="only so many of the images, drawn at random")] = None,
    model: Annotated[
        str, typer.Option(help="model file, run id, models:/NAME@champion; the last run here if not given")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="folder to make; predictions, predictions2, … if not given")] = None,
    save_model: Annotated[Path | None, typer.Option(help="also write the model as one file, for --model")] = None,
    class_from: Annotated[
        Literal["prediction", "label"],
        typer.Option("--class", help="box the predicted class | the label of the list, or the folder's name"),
    ] = "prediction",
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="τ of the map; the model's own if not given")
    ] = None,
    boxes: Annotated[
        Literal["largest", "all"], typer.Option(help="largest contour | every component, overlapping ones merged")
    ] = "largest",
    conf: Annotated[float, typer.Option(min=0, max=1, help="leave out boxes of a smaller score")] = 0.0,
    max_det: Annotated[int, typer.Option("--max-det", min=1, help="most boxes of an image")] = 100,
    classes: Annotated[list[str], typer.Option(help="names of classes to box; all if not given")] = [],  # noqa: B006
    top: Annotated[int, typer.Option("--top-k", min=1, help="classes named with their probabilities")] = 5,
    save_txt: Annotated[bool, typer.Option("--save-txt", help="labels/NAME.txt as YOLO has them")] = False,
    save_conf: Annotated[bool, typer.Option("--save-conf", help="scores in labels/NAME.txt")] = False,
    save_crop: Annotated[bool, typer.Option("--save-crop", help="crops/CLASS/NAME.jpg")] = False,
    save_json: Annotated[bool, typer.Option("--save-json", help="predictions.json: COCO results")] = False,
    save_maps: Annotated[bool, typer.Option("--save-maps", help="maps/NAME.npy, 224×224 in [0, 1]")] = False,
    images: Annotated[bool, typer.Option("--images/--no-images", help="overlays, and pictures for the page")] = True,
    formats: Annotated[
        str, typer.Option("--format", help="any of coco,coco-full,yolo,voc,cvat,label-studio, with commas")
    ] = "",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, max=65536, help="images at once")] = 32,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1; the GPU where there is one if not given")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="do what is left in --out")] = False,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="fetch addresses in private networks too")
    ] = False,
) -> Answer:
    """Box new images with a trained model.

    Tables, overlays and a page to browse, in one folder. Boxes are xyxy in pixels as stored. The score is the
    probability of the class times the mean of the normalised map inside the box. An image that cannot be read is a
    record with an error. See docs/predict.md.

    Examples:
        python -m pipeline predict photos
        python -m pipeline predict --split gate --sample 50 --format cvat
        python -m pipeline predict photos --model models:/wsol@champion --out boxes-of-photos
    """
    from pipeline.predict.command import predict as box_images
    from pipeline.predict.predictor import Options

    options = Options(class_from, threshold, boxes, conf, max_det, tuple(classes), top, batch_size, allow_private)
    flags = {"images": images, "txt": save_txt or save_conf, "conf": save_conf, "crop": save_crop, "maps": save_maps}
    wants = frozenset(name for name, wanted in flags.items() if wanted)
    exports = [name.strip() for name in formats.split(",") if name.strip()] + (["coco"] if save_json else [])
    return box_images(
        source, model, out, options, device, wants, resume, exports, save_model, split=split, sample=sample
    )


def score(
    maps: Annotated[
        Path,
        typer.Option(
            help="Folder of IMAGE_ID.npy files or .npz shards (image_ids, maps; or a map per id), values in [0, 1]."
        ),
    ],
    truth: Annotated[
        Path,
        typer.Option(help="Folder of image_ids.txt, image_sizes.txt (boxes only), localization.txt; or of a manifest."),
    ],
    metric: Annotated[Literal["boxes", "masks"], typer.Option(help="MaxBoxAcc against boxes | PxAP.")] = "boxes",
    contours: Annotated[Literal["single", "multi"], typer.Option(help="Largest contour | every contour.")] = "multi",
    interval: Annotated[float, typer.Option(help="Spacing of the thresholds.")] = 0.001,
    iou: Annotated[list[float], typer.Option(help="IoU criteria: --iou 0.3 0.5 0.7")] = [0.3, 0.5, 0.7],  # noqa: B006
    size: Annotated[int, typer.Option(help="Side of the frame; maps of another shape are resized to it.")] = 224,
    mask_root: Annotated[
        Path | None, typer.Option(help="Folder that mask paths are relative to; if not given, the truth's.")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Default: one per processor.")] = None,
) -> Answer:
    """Score a folder of maps from any code by the field's protocol.

    A table on stderr, all numbers as JSON on stdout. See docs/evaluator.md.

    Examples:
        python -m pipeline score --maps maps --truth metadata/test
        python -m pipeline score --maps maps --truth metadata/test --metric masks
    """
    from pipeline.scoring import score as scoring

    protocol = scoring.Protocol(metric, contours, interval, tuple(iou), size)
    result = scoring.score(maps, truth, protocol, mask_root, processes or scoring.available_processes())
    scoring.show(result, f"{maps} against {truth}: {result['images']} images")
    return result
