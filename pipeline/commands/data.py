"""Images in: your own folder, published data sets, corrected boxes, settings for them."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import console
from pipeline.commands.answers import Answer, in_words
from pipeline.commands.options import Settings
from pipeline.commands.stages import folder_to_itself


def start(
    folder: Annotated[
        Path, typer.Argument(help="FOLDER/CLASS/IMAGE, FOLDER/{train,val,test}/CLASS/IMAGE, or labels.csv")
    ],
    settings: Settings = [],  # noqa: B006
) -> Answer:
    """Look at a folder of your images, and write params.yaml for it.

    Boxes and masks may lie beside the images, for all or for some, and are found: see docs/data.md. The former
    params.yaml is kept.

    Examples:
        python -m pipeline start photos
        python -m pipeline start photos --set train.pretrained=weights.pth
    """
    from pipeline.execution.start import start as look_and_write
    from pipeline.overrides import parse_assignment

    return look_and_write(folder, dict(parse_assignment(text) for text in settings))


def download(
    name: Annotated[str, typer.Argument(help="the data set; without it, what there is")] = "",
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="folder of data sets")] = Path("data/raw"),
    mirror: Annotated[str, typer.Option(metavar="URL", help="below which the archives lie under their names")] = "",
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="archives that you have already")
    ] = None,
) -> Answer | None:
    """Fetch a published data set, verify it and unpack it.

    Broken off, the same command resumes. The licence and the paper to cite are shown. For a data set behind a login:
    fetch the archives there, then --from FOLDER.

    Examples:
        python -m pipeline download
        python -m pipeline download cub --to /data
    """
    from pipeline.download.command import download as fetch_and_unpack
    from pipeline.download.command import listing

    if name:
        return dict(fetch_and_unpack(name, to, mirror, folder))
    listing()
    return None


def import_boxes(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="COCO, Label Studio, CVAT, VOC, YOLO or a table; or a folder of them"),
    ],
) -> Answer:
    """Enter boxes that people corrected into your folder of images.

    The folder is that of prepare.root. Of an image that has boxes already they are replaced; the former file is kept.
    Boxes on val choose the threshold, those of gate and test measure; nothing is trained again. See
    docs/prelabelling.md.

    Examples:
        python -m pipeline import-boxes corrected.json
    """
    from pipeline.execution.import_boxes import import_boxes as enter
    from pipeline.params import load_params

    with folder_to_itself("import-boxes"):
        return enter(files, load_params().prepare)


def preset(
    name: Annotated[str, typer.Argument(help="of presets/; all are listed if not given")] = "",
    settings: Settings = [],  # noqa: B006
) -> Answer | None:
    """Write a paper's settings into params.yaml, or list them all.

    The former params.yaml is kept. The preset `default` is the embedded example.

    Examples:
        python -m pipeline preset
        python -m pipeline preset cub_ddt --set prepare.root=/data/CUB_200_2011
    """
    from pipeline import presets
    from pipeline.overrides import parse_assignment

    if not name:
        for listed in presets.preset_names():
            console.say(f"{listed:25} {presets.title(listed)}")
        return None
    presets.write_params(presets.preset_text(name, dict(parse_assignment(text) for text in settings)))
    console.say(f"params.yaml is preset {name} now; to run it: python -m pipeline repro")
    return {"preset": name}


def check() -> None:
    """Validate params.yaml and every input before anything runs.

    Looked at are the data, the weights and the output folders.

    Examples:
        python -m pipeline check
    """
    from pipeline.execution.preflight import check_inputs, warn_of_equal_images
    from pipeline.params import load_params

    check_inputs(load_params())
    warn_of_equal_images()
    console.say("params.yaml and inputs are valid")


def raw_hash() -> Answer:
    """Hash the raw data set that prepare.root names.

    Files that were not touched are not read again.

    Examples:
        python -m pipeline raw-hash
    """
    from pipeline.data.raw_hash import raw_hash as content_hash
    from pipeline.params import load_params

    root = Path(load_params().prepare.root)
    found = content_hash(root)
    in_words(f"{found} is the hash of {root}")
    return {"raw_hash": found}
