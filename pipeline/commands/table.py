"""Every command in the order of `--help`: a new one is an entry here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.commands import boxing, completion, dag, data, machine, results, running
from pipeline.commands.plain import PlainCommand, SpreadIou
from pipeline.commands.stages import STAGES, stage_command


@dataclass(frozen=True)
class Entry:
    """A command, or the commands below a name.

    Attributes:
        content: the function, whose docstring is the help; or the entries below, with a line that says what they are.
        kind: how its arguments are read.
    """

    content: Callable[..., Any] | tuple[str, Mapping[str, "Entry"]]
    kind: type[PlainCommand] = PlainCommand


WORKSPACE = {"create": Entry(dag.create_workspace), "remove": Entry(dag.remove_workspace)}
ROWS = {"open": Entry(dag.open_sweep), "add": Entry(dag.add_row), "close": Entry(dag.close_sweep)}
#: By group, then by name: what people type comes first, what DVC and the DAGs call last.
COMMANDS = {
    "Your images": {
        "start": Entry(data.start),
        "predict": Entry(boxing.predict),
        "import-boxes": Entry(data.import_boxes),
        "download": Entry(data.download),
    },
    "Running": {
        "preset": Entry(data.preset),
        "check": Entry(data.check),
        "run": Entry(running.run),
        "repro": Entry(running.repro),
        "sweep": Entry(running.sweep),
    },
    "Results": {
        "show": Entry(results.show),
        "compare": Entry(results.compare),
        "ui": Entry(running.ui),
        "promote": Entry(results.promote),
        "rollback": Entry(results.rollback),
        "checkout": Entry(results.checkout),
        "score": Entry(boxing.score, SpreadIou),
    },
    "This machine": {
        "doctor": Entry(machine.doctor),
        "completion": Entry(completion.completion),
    },
    "Stages, which `repro` and `run` start": {name: Entry(stage_command(name)) for name in STAGES},
    "What the DAGs call": {
        "publish": Entry(results.publish),
        "raw-hash": Entry(data.raw_hash),
        "workspace": Entry(("A run's own copy of the repository.", WORKSPACE)),
        "rows": Entry(("The rows of a sweep in MLflow.", ROWS)),
    },
}
