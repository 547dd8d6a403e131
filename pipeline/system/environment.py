"""The environment that child processes are started in."""

import os
import sys
from pathlib import Path

#: What `git rev-parse --local-env-vars` names, and the quarantine of a push: Git sets them for its hooks, and a child
#: that inherits them works on the repository of the hook, whatever folder it was started in.
OF_A_REPOSITORY = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS",
        "GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_NAMESPACE", "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_QUARANTINE_PATH",
        "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
    }
)  # fmt: skip
#: What DVC tells the command of a stage, or of an experiment, about the run that the command belongs to.
OF_A_DVC_RUN = frozenset({"DVC_EXP_BASELINE_REV", "DVC_EXP_NAME", "DVC_ROOT", "DVC_STAGE"})


def environment() -> dict[str, str]:
    """This process's environment without what ties it to one repository or DVC run.

    ``python`` is this interpreter there, as the commands of dvc.yaml expect.
    """
    kept = {name: value for name, value in os.environ.items() if name not in OF_A_REPOSITORY | OF_A_DVC_RUN}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"}
