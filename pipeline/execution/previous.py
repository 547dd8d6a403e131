"""The result before this one, kept for the report: DVC removes a result before it makes the next one."""

from pipeline.errors import UserError
from pipeline.files import METRICS, PREVIOUS, RECORD, content, replacing_files, write_bytes
from pipeline.params import Params, replaced
from pipeline.records import Inputs
from pipeline.results import TRAINING, read_training


def keep_previous(params: Params) -> None:
    """Copy the result here to ``data/previous`` if it was made with other parameters than the run that begins.

    An unchanged run leaves what is there, so that nothing is made anew for it. A result that is not whole is not kept:
    that of a run that failed on its way to another was kept when it began.
    """
    try:
        inputs = Inputs(METRICS)
        if replaced(params, inputs.settings()) == params:
            return
        read_training(inputs)
        files = {name: inputs.read(METRICS / name) for name in inputs.records[METRICS].files}
        files |= {path.name: content(path) for path in (METRICS / RECORD, TRAINING)}
    except UserError:
        return
    with replacing_files(PREVIOUS) as folder:
        for name, data in files.items():
            write_bytes(folder / name, data)
