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
from typing import NoReturn

import typer

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
