"""The command line: one subcommand per stage, and the tools beside them.

Exit codes: 0 done; 2 the user's mistake (message says which key or file); 75 a transient fault, run it again later;
129, 130, 131 or 143 interrupted (SIGHUP, SIGINT, SIGQUIT, SIGTERM); 137 killed, by hand or because memory ran out: run
it again; 141 nobody reads stdout any more; 1 anything else.
"""

import ast
import importlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal, NoReturn

import typer
from typer.core import TyperCommand

from pipeline import console
from pipeline.errors import UserError, WsolError, kept_back
from pipeline.params import load_params
from pipeline.system.keeper import STOPPING, handle_stopping
from pipeline.system.locks import STAGE_LOCK, exclusive_lock
from pipeline.system.outcome import leave_outcome, noted
from pipeline.system.processes import GRACE, end_with_starter

STAGES = ("prepare", "train", "extract_cams", "localize", "evaluate", "report", "track")

app = typer.Typer(
    help="Weakly supervised object localization: image labels in, boxes out.\n\n"
    "A stage reads params.yaml and the files of the stages before it; run them in order, or all of them with `repro`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


workspace_app = typer.Typer(help="A run's own copy of the repository.", no_args_is_help=True)
app.add_typer(workspace_app, name="workspace", rich_help_panel="Tools")
rows_app = typer.Typer(help="What a sweep of the Airflow DAG wsol_sweep records in MLflow.", no_args_is_help=True)
app.add_typer(rows_app, name="rows", rich_help_panel="Tools")


def _stage_help(name: str) -> str:
    """A stage's own docstring, read without importing it: `--help` must not wait for torch."""
    source = (Path(__file__).parent / "stages" / f"{name}.py").read_text()
    return ast.get_docstring(ast.parse(source)) or ""


def _add_stage(name: str) -> None:
    def command() -> None:
        params = load_params()
        if name == "train":
            from pipeline.training.distributed import check_environment, start_per_gpu

            check_environment()
            # Before the lock and the note, which are those of the processes it starts in place of this one.
            start_per_gpu()
        with noted(name), _folder_to_itself(name):
            summary = importlib.import_module(f"pipeline.stages.{name}").run(params)
        # Of several processes that train together, the first one answers.
        if name != "train" or os.environ.get("RANK", "0") == "0":
            _answer({"stage": name} | summary)

    app.command(name, help=_stage_help(name), rich_help_panel="Stages")(command)


def _folder_to_itself(stage: str) -> AbstractContextManager[object]:
    """One stage at a time writes into a folder; of several processes that train together the first one does.

    A stage whose DVC was killed ends at once, so that the next one waits for it.
    """
    if stage == "train" and os.environ.get("RANK", "0") != "0":
        return nullcontext()
    return exclusive_lock(STAGE_LOCK, f"a stage of {Path.cwd()}", 2 * GRACE)


for _name in STAGES:
    _add_stage(_name)


@app.command(rich_help_panel="Tools")
def check() -> None:
    """Validate params.yaml and every input before anything runs: data, weights, output folders."""
    from pipeline.execution.preflight import check_inputs, warn_of_equal_images

    check_inputs(load_params())
    warn_of_equal_images()
    console.say("params.yaml and inputs are valid")


def _answer(result: Mapping[str, Any]) -> None:
    """The one line that a command ends with on stdout.

    Raises:
        SystemExit: nobody reads it any more, as behind `| head`.
        UserError: it cannot be written.
    """
    try:
        print(json.dumps(result), flush=True)
    except BrokenPipeError:
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        raise UserError(
            f"the result could not be written to stdout: {error.strerror}. What the command made is complete; free "
            "some space or send stdout elsewhere, and run the same command again to see the result."
        ) from None


@app.command(rich_help_panel="Tools")
def preset(
    name: Annotated[str, typer.Argument(help="of presets/; all are listed if not given")] = "",
    settings: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="a value in place of the preset's")
    ] = [],  # noqa: B006
) -> None:
    """Make params.yaml the defaults with the values of a preset; the former params.yaml is kept.

    For example `python -m pipeline preset cub_ddt --set prepare.root=/data/CUB_200_2011`. The preset `default` is the
    embedded example.
    """
    from pipeline import presets
    from pipeline.overrides import parse_assignment

    if name:
        presets.write_params(presets.preset_text(name, dict(parse_assignment(text) for text in settings)))
        console.say(f"params.yaml is preset {name} now; to run it: python -m pipeline repro")
        _answer({"preset": name})
    else:
        for listed in presets.preset_names():
            console.say(f"{listed:25} {presets.title(listed)}")


@app.command(rich_help_panel="Tools")
def start(
    folder: Annotated[
        Path, typer.Argument(help="FOLDER/CLASS/IMAGE, FOLDER/{train,val,test}/CLASS/IMAGE, or labels.csv")
    ],
    settings: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="a value in place of the one that would be chosen")
    ] = [],  # noqa: B006
) -> None:
    """Look at a folder of your own images, say what is there, and write params.yaml for it. Then: `make run`.

    Boxes and masks may lie beside the images, for all or for some, and are found: see docs/data.md. The former
    params.yaml is kept. Without a network: --set train.pretrained=weights.pth
    """
    from pipeline.execution.start import start as look_and_write
    from pipeline.overrides import parse_assignment

    _answer(look_and_write(folder, dict(parse_assignment(text) for text in settings)))


@app.command(rich_help_panel="Tools")
def download(
    name: Annotated[str, typer.Argument(help="the data set; without it, what there is")] = "",
    to: Annotated[Path, typer.Option(help="folder of data sets")] = Path("data/raw"),
    mirror: Annotated[str, typer.Option(metavar="URL", help="below which the archives lie under their names")] = "",
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="archives that you have already")
    ] = None,
) -> None:
    """Fetch a published data set, verify it and unpack it. Broken off, the same command resumes.

    Its licence and the paper to cite are shown. For one behind a login: fetch the archives there, then --from FOLDER.
    """
    from pipeline.download.command import download as fetch_and_unpack
    from pipeline.download.command import listing

    if name:
        _answer(dict(fetch_and_unpack(name, to, mirror, folder)))
    else:
        listing()


@app.command("import-boxes", rich_help_panel="Tools")
def import_boxes(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="COCO, Label Studio, CVAT, VOC, YOLO or a table; or a folder of them"),
    ],
) -> None:
    """Enter boxes that people corrected into the folder of your own images that prepare.root names.

    Of an image that has boxes already they are replaced; the former file is kept. Boxes on val choose the threshold,
    those of gate and test measure; nothing is trained again. See docs/prelabelling.md.
    """
    from pipeline.execution.import_boxes import import_boxes as enter

    with _folder_to_itself("import-boxes"):
        _answer(enter(files, load_params().prepare))


class _ScoreCommand(TyperCommand):
    """Takes ``--iou 0.3 0.5 0.7`` as the field's script does, besides ``--iou 0.3 --iou 0.5``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        for arg in args:
            several = len(spread) > 1 and spread[-2] == "--iou" and not arg.startswith("-")
            spread += ["--iou", arg] if several else [arg]
        return super().parse_args(ctx, spread)


@app.command(cls=_ScoreCommand, rich_help_panel="Tools")
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
) -> None:
    """Score a folder of maps from any code by the field's protocol: JSON on stdout, a table on stderr."""
    from pipeline.scoring import score as scoring

    protocol = scoring.Protocol(metric, contours, interval, tuple(iou), size)
    result = scoring.score(maps, truth, protocol, mask_root, processes or scoring.available_processes())
    scoring.show(result, f"{maps} against {truth}: {result['images']} images")
    _answer(result)


@app.command(rich_help_panel="Tools")
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
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, max=65536)] = 32,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1; the GPU where there is one if not given")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="do what is left in --out")] = False,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="fetch addresses in private networks too")
    ] = False,
) -> None:
    """Box new images with a trained model: tables, overlays and a page to browse, in one folder.

    Boxes are xyxy in pixels as stored. The score is the probability of the class times the mean of the normalised map
    inside the box. An image that cannot be read is a record with an error. See docs/predict.md.
    """
    from pipeline.predict.command import predict as box_images
    from pipeline.predict.predictor import Options

    options = Options(class_from, threshold, boxes, conf, max_det, tuple(classes), top, batch_size, allow_private)
    flags = {"images": images, "txt": save_txt or save_conf, "conf": save_conf, "crop": save_crop, "maps": save_maps}
    wants = frozenset(name for name, wanted in flags.items() if wanted)
    exports = [name.strip() for name in formats.split(",") if name.strip()] + (["coco"] if save_json else [])
    result = box_images(
        source, model, out, options, device, wants, resume, exports, save_model, split=split, sample=sample
    )
    _answer(result)


@app.command(rich_help_panel="Tools")
def repro(
    stage: Annotated[str, typer.Argument(help="the last stage to reproduce; all of them if not given")] = "",
    single_item: Annotated[bool, typer.Option("--single-item", help="this stage alone, not those before it")] = False,
    force: Annotated[bool, typer.Option("--force", help="run although nothing has changed")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="end with one JSON line on a terminal too, as elsewhere")
    ] = False,
) -> None:
    """Validate everything, run what has changed (`dvc repro`), and show the result.

    Ends with the exit code of the stage that failed, and says how to get the outputs back that it had before.
    """
    from pipeline.execution.repro import reproduce
    from pipeline.report.summary import show_result

    outcome = reproduce(stage, single_item=single_item, force=force)
    leave_outcome(outcome.exit_code, outcome.message)
    if outcome.exit_code == 0:
        if not stage:
            show_result()
            console.say("To enter the result against the champion: python -m pipeline promote")
        # Programs read the line, people the table.
        if as_json or not console.is_terminal(console.stdout):
            _answer({"reproduced": stage or "all"})
    raise SystemExit(outcome.exit_code)


@app.command(rich_help_panel="Tools")
def run() -> None:
    """Execute the Airflow DAG on this checkout, without a server, and show the result.

    Unchanged stages are not run again. Ends with the exit code of the stage that failed.
    """
    from pipeline.local.dag_run import run_pipeline
    from pipeline.report.summary import show_summary

    code = run_pipeline(Path.cwd())
    if code == 0:
        show_summary()
        console.say("To look around in Airflow and MLflow: make ui")
    raise SystemExit(code)


@app.command(rich_help_panel="Tools")
def ui(
    airflow_port: Annotated[int, typer.Option(help="of the Airflow page")] = 8080,
    mlflow_port: Annotated[
        int, typer.Option(help="of the MLflow page; not used where MLFLOW_TRACKING_URI is set")
    ] = 5000,
) -> None:
    """Serve the Airflow and MLflow pages on 127.0.0.1 until Ctrl-C, and run what is triggered or due there."""
    from pipeline.local.pages import serve

    with suppress(KeyboardInterrupt):
        serve(Path.cwd(), airflow_port, mlflow_port)


@app.command(rich_help_panel="Tools")
def show() -> None:
    """Show the numbers of the result that lies in metrics/, and where its report is."""
    from pipeline.report.summary import show_summary

    show_summary()


@app.command(rich_help_panel="Tools")
def sweep(
    file: Annotated[Path, typer.Argument(help="YAML file: name, method, metric, space; see docs/sweeps.md")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="list the trials and run none")] = False,
) -> None:
    """Run the pipeline for many settings, each in its own workspace, and rank them on val.

    Called again, it goes on where it was stopped. In MLflow the trials are the children of one run.
    """
    from pipeline.sweeps.runner import check_sweep, list_trials, run_sweep
    from pipeline.sweeps.space import read_sweep

    trials = read_sweep(file)
    if dry_run:
        check_sweep(trials)
        list_trials(trials)
        _answer({"sweep": trials.name, "trials": len(trials.trials)})
    else:
        _answer(run_sweep(trials))


@app.command(rich_help_panel="Tools")
def promote(
    run: Annotated[str, typer.Option(help="id of a tracked run; the result in this folder if not given")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="decide and show why, but promote nothing; it counts as a comparison")
    ] = False,
    approval: Annotated[
        Literal["none", "Approve", "Reject"], typer.Option(help="of a person who was asked; Reject refuses")
    ] = "none",
) -> None:
    """Let a tracked run compete with the champion of MLflow's registry, by the rule of promote.* in params.yaml.

    Any run will do, from anywhere: of `repro`, of the DAG, a trial of a sweep. It competes for the registered model of
    track.experiment in this folder's params.yaml, whatever experiment it is filed under. See docs/promotion.md.

    A refusal is a result like any other: it is recorded with the run, and the exit code is 0.
    """
    from pipeline.promotion.commands import promote as compete

    _answer(compete(run, dry_run=dry_run, approval=approval))


@app.command(rich_help_panel="Tools")
def compare(
    runs: Annotated[
        list[str], typer.Argument(help="ids of tracked runs, `champion`, or `here`; the first is the one to beat")
    ],
    split: Annotated[str, typer.Option(help="whose images count: val, gate or test")] = "test",
) -> None:
    """Show runs side by side: accuracies, paired differences with intervals, and the settings that differ.

    For example `python -m pipeline compare champion here`.
    """
    from pipeline.promotion.compare import compare as side_by_side

    _answer(side_by_side(runs, split))


@app.command(rich_help_panel="Tools")
def rollback() -> None:
    """Make the previous champion the champion again; a second rollback undoes the first."""
    from pipeline.promotion.commands import rollback as go_back

    _answer(go_back())


@app.command(rich_help_panel="Tools")
def publish() -> None:
    """Push the result's files to DVC's default remote, if there is one, and keep the lock file with its MLflow run."""
    from pipeline.execution.publish import publish as push

    _answer(push())


@app.command(rich_help_panel="Tools")
def checkout(
    run: Annotated[str, typer.Argument(help="id of a tracked run")],
    folder: Annotated[Path | None, typer.Argument(help="to make; in the state folder if not given")] = None,
) -> None:
    """Lay a tracked run out in a fresh folder: code with its uncommitted changes, parameters, data and model."""
    from pipeline.execution.checkout import checkout_run
    from pipeline.system.state import state_folder

    _answer(checkout_run(run, folder or state_folder() / "checkouts" / run))


@app.command("raw-hash", rich_help_panel="Tools")
def raw_hash() -> None:
    """Print a hash of the raw data set that prepare.root names; files that were not touched are not read again."""
    from pipeline.data.raw_hash import raw_hash as content_hash

    _answer({"raw_hash": content_hash(Path(load_params().prepare.root))})


@workspace_app.command("create")
def create_workspace(
    run: Annotated[str, typer.Argument(help="name of the run")],
    settings: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="a value in place of that of params.yaml")
    ] = [],  # noqa: B006
    revision: Annotated[str, typer.Option(help="commit, branch or tag; the working tree as on disk if not given")] = "",
    values: Annotated[str, typer.Option(help="several values at once: a JSON object by dotted key")] = "{}",
) -> None:
    """Copy the repository for one run, with its own params.yaml; the cache and the state folder are shared.

    Prints where it lies. Run stages there with `python -m pipeline repro`.
    """
    from pipeline.execution.workspace import create_workspace as create
    from pipeline.execution.workspace import fetches_weights
    from pipeline.overrides import parse_assignment, parse_values

    overrides = parse_values(values) | dict(parse_assignment(text) for text in settings)
    workspace = create(run, overrides, revision or None)
    _answer({"workspace": str(workspace), "fetches_weights": fetches_weights(workspace)})


@workspace_app.command("remove")
def remove_workspace(run: Annotated[str, typer.Argument(help="name of the run")]) -> None:
    """Remove a run's copy of the repository; its params.yaml and dvc.lock are kept. Prints where."""
    from pipeline.execution.workspace import remove_workspace as remove

    _answer({"record": str(remove(run))})


@rows_app.command("open")
def open_sweep(name: Annotated[str, typer.Argument(help="of the sweep")]) -> None:
    """Find or make the parent run of a sweep. Prints its id."""
    from pipeline.sweeps.rows import open_sweep as open_parent

    _answer(open_parent(name))


@rows_app.command("add")
def add_row(name: Annotated[str, typer.Argument(help="of the sweep")]) -> None:
    """Put the tracked result in this folder under the parent run of a sweep. Prints its id."""
    from pipeline.sweeps.rows import add_row as add

    _answer(add(name))


@rows_app.command("close")
def close_sweep(
    name: Annotated[str, typer.Argument(help="of the sweep")],
    rows: Annotated[str, typer.Option(help="what `rows add` printed, as a JSON list")],
    expected: Annotated[int, typer.Option(help="how many rows there were")],
) -> None:
    """Compare the rows of a sweep on val and mark the best one. Fails, after that, where rows are missing."""
    from pipeline.sweeps.rows import close_sweep as close
    from pipeline.sweeps.rows import run_ids_of

    _answer(close(name, run_ids_of(rows), expected))


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    # As PID 1 of a container a process ignores SIGTERM unless it handles it. Its keeper, and the thread that watches
    # over DVC, say it again: that must not cut the clean-up short, which the keeper's SIGKILL bounds.
    for other in STOPPING:
        if other != signal.SIGINT:
            signal.signal(other, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def main() -> NoReturn:
    """Run the command line; deliberate errors become a message and their exit code, without a traceback."""
    handle_stopping(_stop)
    end_with_starter()
    # Threads of torch that wait must not spin: beside any other busy process that costs most of the speed.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    code: int | str | None = 1
    message = ""
    try:
        app(prog_name="python -m pipeline")
    except WsolError as error:
        code, message = error.exit_code, str(error)
    except OSError as error:
        if not error.filename or isinstance(error, FileNotFoundError):
            raise
        code, message = UserError.exit_code, str(kept_back(error))
    except KeyboardInterrupt:
        code, message = 128 + signal.SIGINT, "interrupted"
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        leave_outcome(code, message)
    if message:
        console.fail(message)
    _close_stdout()
    sys.exit(code)


def _close_stdout() -> None:
    """Python would write what is left in the buffer at its end, and complain about the reader that has gone."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
