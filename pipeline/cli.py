"""The command line: one subcommand per stage, and the tools beside them.

Exit codes: 0 done; 2 the user's mistake (message says which key or file); 75 a transient fault, run it again later;
130 or 143 interrupted; 1 anything else.
"""

import ast
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal, NoReturn

import typer
from typer.core import TyperCommand

from pipeline import console
from pipeline.errors import WsolError
from pipeline.params import load_params

STAGES = ("prepare", "train", "extract_cams", "localize", "evaluate", "report", "track")
#: Names the file in which a stage leaves its exit code: DVC exits with 255 whatever the stage's own code was.
EXIT_CODE_FILE = "WSOL_EXIT_CODE_FILE"

app = typer.Typer(
    help="Weakly supervised object localization: image labels in, boxes out.\n\n"
    "A stage reads params.yaml and the files of the stages before it; run them in order, or all of them with `repro`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _stage_help(name: str) -> str:
    """A stage's own docstring, read without importing it: `--help` must not wait for torch."""
    source = (Path(__file__).parent / "stages" / f"{name}.py").read_text()
    return ast.get_docstring(ast.parse(source)) or ""


def _add_stage(name: str) -> None:
    def command() -> None:
        summary = importlib.import_module(f"pipeline.stages.{name}").run(load_params())
        print(json.dumps({"stage": name} | summary))

    app.command(name, help=_stage_help(name), rich_help_panel="Stages")(command)


for _name in STAGES:
    _add_stage(_name)


@app.command(rich_help_panel="Tools")
def check() -> None:
    """Validate params.yaml and every input before anything runs: data, weights, output folders."""
    from pipeline.preflight import check_inputs

    check_inputs(load_params())
    console.say("params.yaml and inputs are valid")


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
    maps: Annotated[Path, typer.Option(help="Folder of IMAGE_ID.npy files or .npz shards, values in [0, 1].")],
    truth: Annotated[Path, typer.Option(help="Folder of image_ids.txt, … , localization.txt, or of a manifest.")],
    metric: Annotated[Literal["boxes", "masks"], typer.Option(help="MaxBoxAcc against boxes | PxAP.")] = "boxes",
    contours: Annotated[Literal["single", "multi"], typer.Option(help="Largest contour | every contour.")] = "multi",
    interval: Annotated[float, typer.Option(help="Spacing of the thresholds.")] = 0.001,
    iou: Annotated[list[float], typer.Option(help="IoU criteria: --iou 0.3 0.5 0.7")] = [0.3, 0.5, 0.7],  # noqa: B006
    size: Annotated[int, typer.Option(help="Side of the frame; maps of another shape are resized to it.")] = 224,
    mask_root: Annotated[Path | None, typer.Option(help="Folder that mask paths are relative to.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Default: one per processor.")] = None,
) -> None:
    """Score a folder of maps from any code by the field's protocol: JSON on stdout, a table on stderr."""
    from pipeline import scoring

    protocol = scoring.Protocol(metric, contours, interval, tuple(iou), size)
    result = scoring.score(maps, truth, protocol, mask_root, processes or scoring.available_processes())
    scoring.show(result, f"{maps} against {truth}: {result['images']} images")
    print(json.dumps(result))


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    # As PID 1 of a container a process ignores SIGTERM unless it handles it.
    raise SystemExit(128 + signal.SIGTERM)


def main() -> NoReturn:
    """Run the command line; deliberate errors become a message and their exit code, without a traceback."""
    signal.signal(signal.SIGTERM, _terminate)
    code: int | str | None = 1
    try:
        app(prog_name="python -m pipeline")
    except WsolError as error:
        console.fail(str(error))
        code = error.exit_code
    except KeyboardInterrupt:
        console.fail("interrupted")
        code = 128 + signal.SIGINT
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        if EXIT_CODE_FILE in os.environ:
            Path(os.environ[EXIT_CODE_FILE]).write_text(str(code))
    sys.exit(code)
