"""Where tasks run: ``WSOL_RUNTIME`` names one of ``process`` (default), ``docker`` and ``kubernetes``.

What a DAG says is the same for each of them; GPUs, time and retries of a stage come from ``meta`` of ``dvc.yaml``.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from airflow.sdk import BaseOperator, Param

from wsol_dags.runtimes.access import NOTHING, Access
from wsol_dags.runtimes.process import CommandOperator, ProcessRuntime, RemoveWorkspaceOperator, WorkspaceOperator

__all__ = ["CommandOperator", "RemoveWorkspaceOperator", "Runtime", "WorkspaceOperator", "runtime_of"]


class Runtime(Protocol):
    """How the pipeline's commands become tasks.

    Attributes:
        checkout: the repository, as the tasks see it.
        pinned: every run takes a commit; there is no working tree to run.
        runs_at_once: of one DAG.
    """

    checkout: Path
    pinned: bool
    runs_at_once: int

    def command(
        self, arguments: Sequence[str], folder: str, gpus: int = 0, access: Access = NOTHING, **options: Any
    ) -> BaseOperator:
        """A task that runs ``python -m pipeline ARGUMENTS`` in a folder and returns the JSON object it ends with.

        Exit code 75 is tried again, any other failure of the command is final; a cancelled task ends its command.
        """
        ...

    def create_workspace(self, form: Mapping[str, Param], **options: Any) -> BaseOperator:
        """A task that makes the run's workspace and returns ``{"workspace": folder}``."""
        ...

    def remove_workspace(self, **options: Any) -> BaseOperator:
        """A task that removes the run's workspace and keeps its record."""
        ...


def runtime_of(checkout: Path) -> Runtime:
    """The runtime that ``WSOL_RUNTIME`` names; its provider is imported only then.

    Raises:
        ValueError: there is no such runtime.
    """
    name = os.environ.get("WSOL_RUNTIME", "process")
    if name == "process":
        return ProcessRuntime(checkout)
    from wsol_dags.runtimes.containers import Settings

    if name == "docker":
        from wsol_dags.runtimes.docker import DockerRuntime

        return DockerRuntime(Settings.from_environment())
    if name == "kubernetes":
        from wsol_dags.runtimes.kubernetes import KubernetesRuntime

        return KubernetesRuntime(Settings.from_environment())
    raise ValueError(f"WSOL_RUNTIME is {name!r}; it must be process, docker or kubernetes.")
