"""The stages, which DVC starts: each reads params.yaml and the files of the stages before it."""

import ast
import importlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from pipeline.commands.answers import Answer, in_words
from pipeline.system.locks import STAGE_LOCK, exclusive_lock
from pipeline.system.outcome import noted
from pipeline.system.processes import GRACE

#: In the order of dvc.yaml, with the line that the list of commands shows.
STAGES = {
    "prepare": "Read and check the data set, and write its manifest.",
    "train": "Train the classifier from image labels alone.",
    "extract_cams": "Make the maps of the true and the predicted class.",
    "localize": "Choose the threshold on val and draw the boxes.",
    "evaluate": "Score boxes, maps and classification.",
    "report": "Write numbers, curves and a gallery into one HTML file.",
    "track": "Record the result as one MLflow run.",
}


def stage_command(name: str) -> Callable[[], Answer | None]:
    """The command that runs one stage."""

    def command() -> Answer | None:
        from pipeline.params import load_params

        params = load_params()
        if name == "train":
            from pipeline.training.distributed import check_environment, start_per_gpu

            check_environment()
            # Before the lock and the note, which are those of the processes it starts in place of this one.
            start_per_gpu()
        with noted(name), folder_to_itself(name):
            summary = importlib.import_module(f"pipeline.stages.{name}").run(params)
        # Of several processes that train together, the first one answers.
        if _is_helper(name):
            return None
        in_words(f"{name}: {', '.join(f'{fact} {value}' for fact, value in summary.items())}")
        return {"stage": name, **summary}

    command.__doc__ = f"{STAGES[name]}\n\n{_docstring(name)}"
    return command


def folder_to_itself(stage: str) -> AbstractContextManager[object]:
    """One stage at a time writes into a folder; of several processes that train together the first one does.

    A stage whose DVC was killed ends at once, so that the next one waits for it.
    """
    if _is_helper(stage):
        return nullcontext()
    return exclusive_lock(STAGE_LOCK, f"a stage of {Path.cwd()}", 2 * GRACE)


def _is_helper(stage: str) -> bool:
    return stage == "train" and os.environ.get("RANK", "0") != "0"


def _docstring(name: str) -> str:
    """A stage's own docstring, read without importing it: `--help` must not wait for torch."""
    source = (Path(__file__).parents[1] / "stages" / f"{name}.py").read_text()
    return ast.get_docstring(ast.parse(source)) or ""
