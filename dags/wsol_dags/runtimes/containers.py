"""What the runtimes that start a container for each task have in common: settings, frame and pool."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Context, Param

from wsol_dags.commands import workspace_arguments
from wsol_dags.runtimes.access import NOTHING, Access

#: Of the tasks that need GPUs: as many slots as there are GPUs, one where there is none.
POOL = "gpu"
#: A variable of this prefix, in Airflow's environment, is one of every task, without the prefix.
TASK_PREFIX = "WSOL_TASK_"
#: Where the volumes lie in a task's container, and the repository and the state folder in the first.
WORK, RAW = "/srv/wsol", "/srv/raw"
CHECKOUT, CACHE, STATE = f"{WORK}/checkout", f"{WORK}/cache", f"{WORK}/state"
#: Tells a command that it has no account at the tracking server: a training does not stream its curves, which `track`
#: logs later.
NO_ACCOUNT = {"WSOL_TRACKING": "off"}

Arguments = Sequence[str] | Callable[..., list[str]]


@dataclass(frozen=True)
class Settings:
    """How tasks become containers; from the environment variables ``WSOL_…`` of Airflow.

    Attributes:
        image: the image with the stages.
        work: volume (Docker) or claim (Kubernetes) of the state folder and, unless they have their own, of checkout and
            cache, in the folders ``checkout`` and ``cache``.
        checkout: Docker: volume of the checkout, which tasks read only.
        cache: Docker: volume of DVC's cache, which the stages write, and other tasks read only.
        raw: volume or claim of the raw data, read only; empty for none.
        secrets: Docker: folder with one for each identity, whose files hold a variable each, named by it; Kubernetes:
            of ``wsol`` the Secret of the identity ``training`` is ``wsol-training``; empty for none.
        shm_size: of ``/dev/shm``, in MiB: data loaders pass batches through it.
        memory: of a task, in MiB, shared memory included; 0 for as much as there is.
        pids: Docker: processes and threads of a task.
        gpus: how many there are; with 0 every task runs on the CPU.
        network: Docker: name of the tasks' network.
        namespace: Kubernetes: where pods are made.
        service_account: Kubernetes: of the pods.
        environment: of every task.
    """

    image: str
    work: str
    checkout: str
    cache: str
    raw: str
    secrets: str
    shm_size: int
    memory: int
    pids: int
    gpus: int
    network: str
    namespace: str
    service_account: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = os.environ) -> "Settings":
        """Read them; an unset one has the value that the Compose stack gives it.

        Raises:
            ValueError: a number is none.
        """
        passed = {
            key.removeprefix(TASK_PREFIX): value for key, value in variables.items() if key.startswith(TASK_PREFIX)
        }
        return cls(
            image=variables.get("WSOL_IMAGE", "wsol/pipeline:latest"),
            work=variables.get("WSOL_WORK", "wsol_work"),
            checkout=variables.get("WSOL_CHECKOUT", ""),
            cache=variables.get("WSOL_CACHE", ""),
            raw=variables.get("WSOL_RAW", ""),
            secrets=variables.get("WSOL_SECRETS", ""),
            shm_size=_number(variables, "WSOL_SHM_MIB", 1024),
            memory=_number(variables, "WSOL_MEMORY_MIB", 0),
            pids=_number(variables, "WSOL_PIDS", 4096),
            gpus=_number(variables, "WSOL_GPUS", 0),
            network=variables.get("WSOL_NETWORK", "wsol_tasks"),
            namespace=variables.get("WSOL_NAMESPACE", "wsol"),
            service_account=variables.get("WSOL_SERVICE_ACCOUNT", "default"),
            environment={"WSOL_STATE": STATE} | passed,
        )


class ContainerRuntime(ABC):
    """Tasks are containers of the image with the stages, on a volume with the checkout; every run clones a commit.

    Attributes:
        checkout: the repository, as the containers see it.
        pinned: there is no working tree to run.
        runs_at_once: several, which wait for GPUs in the pool.
    """

    pinned = True
    runs_at_once = 4
    checkout = Path(CHECKOUT)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def command(
        self, arguments: Arguments, folder: str, gpus: int = 0, access: Access = NOTHING, **options: Any
    ) -> BaseOperator:
        """A task that runs one command of the pipeline.

        Args:
            arguments: of the command, or what makes them from Airflow's context.
            folder: where it runs, in the container.
            gpus: how many it needs; it takes as many slots of the pool ``gpu``.
            access: what it may reach.

        Raises:
            ValueError: there are fewer GPUs than that.
        """
        available = self._settings.gpus
        if available and gpus > available:
            raise ValueError(
                f"{options.get('task_id')} needs {gpus} GPUs (`meta` in dvc.yaml), WSOL_GPUS says there are "
                f"{available}: correct one of them."
            )
        pool = {"pool": POOL, "pool_slots": gpus if available else 1} if gpus else {}
        return self._operator(arguments, folder, gpus if available else 0, access, **pool, **options)

    def create_workspace(self, form: Mapping[str, Param], **options: Any) -> BaseOperator:
        """A task that returns the run's ``{"workspace": folder}``."""

        def arguments(context: Mapping[str, Any], jinja_env: Any) -> list[str]:
            return workspace_arguments(form, context, pinned=True)

        return self.command(arguments, CHECKOUT, **options)

    def remove_workspace(self, **options: Any) -> BaseOperator:
        """A task that removes it."""
        return self.command(["workspace", "remove", "{{ run_id }}"], CHECKOUT, **options)

    @abstractmethod
    def _operator(
        self, arguments: Arguments, folder: str, gpus: int, access: Access, **options: Any
    ) -> BaseOperator: ...


def _number(variables: Mapping[str, str], name: str, default: int) -> int:
    value = variables.get(name, str(default))
    if not value.isdecimal():
        raise ValueError(f"{name}={value!r} must be a whole number")
    return int(value)


def task_label(context: Context) -> str:
    """Identifies a task of a run, whichever try it is."""
    ti = context["ti"]
    return json.dumps([ti.dag_id, ti.run_id, ti.task_id, ti.map_index])
