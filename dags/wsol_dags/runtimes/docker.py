"""The ``docker`` runtime: a container of the engine that ``DOCKER_HOST`` names for each task."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

from airflow.providers.docker.exceptions import DockerContainerFailedException
from airflow.providers.docker.hooks.docker import DockerHook
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.sdk.log import mask_secret
from docker.errors import APIError, NotFound
from docker.types import DeviceRequest, Mount

from wsol_dags.commands import AIRFLOW_RUN, KILLED, error_message, failure, last_object
from wsol_dags.runtimes.access import ONLINE, Access
from wsol_dags.runtimes.containers import (
    CACHE,
    CHECKOUT,
    NO_ACCOUNT,
    RAW,
    WORK,
    Arguments,
    ContainerRuntime,
    Settings,
    task_label,
)
from wsol_dags.runtimes.gpus import reserved_gpus

#: Seconds between SIGTERM and SIGKILL of a cancelled task's container: Airflow kills the task itself after 5 s, and the
#: container must have been removed by then.
GRACE = 2
#: Names the task on its container.
LABEL = "wsol.task"
#: What the provider has no argument for: nothing in a task needs privileges or writes into its image.
HARDENING: Mapping[str, Any] = {
    "read_only": True,
    "tmpfs": {"/tmp": ""},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}
NO_GPU = "could not select device driver"


class DockerCommandOperator(DockerOperator):
    """Runs ``python -m pipeline …`` in a container and returns the JSON object of its last line.

    Args:
        settings: of all containers.
        gpus: how many the container gets.
        access: what it may reach.

    Raises:
        AirflowException: the command ended with 75, or its container was killed; Airflow tries again.
        AirflowFailException: it ended with another code but 0, or the engine cannot give it a GPU.
    """

    template_fields: Sequence[str] = (*DockerOperator.template_fields, "working_dir", "reach")

    def __init__(
        self, *, settings: Settings, arguments: Arguments, folder: str, gpus: int, access: Access, **kwargs: Any
    ) -> None:
        super().__init__(
            image=settings.image,
            command=cast("list[str]", arguments),
            entrypoint=["python", "-u", "-m", "pipeline"],
            working_dir=folder,
            environment={**settings.environment, **({} if access.identity else NO_ACCOUNT)},
            network_mode="none",
            mounts=list(_mounts(settings, access)),
            shm_size=settings.shm_size * 2**20,
            mem_limit=settings.memory * 2**20 or None,
            mount_tmp_dir=False,
            auto_remove="force",
            xcom_all=True,
            **kwargs,
        )
        self.reach = access.reach
        self._settings = settings
        self._gpus = gpus
        self._secrets = Path(settings.secrets) / access.identity if settings.secrets and access.identity else None

    @cached_property
    def hook(self) -> DockerHook:
        """The provider's, which hardens every container it makes."""
        hook = super().hook
        client = hook.api_client
        # No swap besides its memory: a task that needs more ends, and the machine stays as it is.
        limits = {"pids_limit": self._settings.pids, "memswap_limit": self._settings.memory * 2**20 or None}
        client.create_host_config = partial(client.create_host_config, **HARDENING, **limits)
        return hook

    def execute(self, context: Context) -> dict[str, Any]:  # type: ignore[override]
        """Run the container; its lines become the task's log as they come."""
        label = task_label(context)
        self.labels = {LABEL: label}
        # Two stacks of one engine may have runs of one name.
        digest = hashlib.sha256(f"{self._settings.work} {label}".encode()).hexdigest()
        self.container_name = f"wsol-{context['ti'].task_id}-{digest[:12]}"
        self.environment = {**self.environment, AIRFLOW_RUN: context["run_id"]}
        self._private_environment = read_secrets(self._secrets)
        if self.reach == ONLINE:
            self.network_mode = self._settings.network
        self._remove_left_over()
        with reserved_gpus(self._gpus, self._settings.gpus) as numbers:
            if numbers:
                self.device_requests = [DeviceRequest(device_ids=numbers, capabilities=[["gpu"]])]
            return last_object(self._run(context))

    def on_kill(self) -> None:
        """Stop and remove the container before Airflow ends this task."""
        if self.container:
            with suppress(NotFound):
                self.cli.stop(self.container["Id"], timeout=GRACE)
            with suppress(APIError):
                self.cli.remove_container(self.container["Id"], force=True)

    def _run(self, context: Context) -> list[str]:
        try:
            return list(super().execute(context) or [])
        except DockerContainerFailedException as error:
            said = error_message(str(line) for line in error.logs or [])
            raise failure(self.task_id, exit_code_of(str(error)), said, KILLED) from None
        except NotFound as error:
            raise AirflowException(
                f"the container of {self.task_id} or its image is gone: {error.explanation}"
            ) from None
        except APIError as error:
            if NO_GPU not in str(error.explanation):
                raise
            raise AirflowFailException(
                f"Docker cannot give {self.task_id} a GPU ({error.explanation}). Install the NVIDIA Container Toolkit "
                "on the host and restart Docker, or run on the CPU: compose.cpu.yaml instead of compose.gpu.yaml "
                "in docker/.env, then `make up` (another Airflow: WSOL_GPUS=0 in its environment)."
            ) from None

    def _remove_left_over(self) -> None:
        """A container that an earlier try left, its scheduler having died, would work in the same folder."""
        with suppress(NotFound):
            self.cli.remove_container(self.container_name, force=True)
            self.log.info("removed the container that an earlier try had left")


class DockerRuntime(ContainerRuntime):
    """Tasks are containers of one Docker engine."""

    def _operator(self, arguments: Arguments, folder: str, gpus: int, access: Access, **options: Any) -> BaseOperator:
        return DockerCommandOperator(
            settings=self._settings, arguments=arguments, folder=folder, gpus=gpus, access=access, **options
        )


def _mounts(settings: Settings, access: Access) -> Iterator[Mount]:
    """The volumes of a task: what it has no need to write it can read only."""
    yield Mount(WORK, settings.work)
    if settings.checkout:
        yield Mount(CHECKOUT, settings.checkout, read_only=True)
    if settings.cache:
        yield Mount(CACHE, settings.cache, read_only=not access.cache)
    if settings.raw:
        yield Mount(RAW, settings.raw, read_only=True)


def read_secrets(folder: Path | None) -> dict[str, str]:
    """Variables by name, each from a file of that name; masked in every log from now on."""
    files = sorted(folder.iterdir()) if folder else []
    values = {file.name: file.read_text().strip() for file in files if file.is_file()}
    for value in values.values():
        mask_secret(value)
    return values


def exit_code_of(message: str) -> int | None:
    """The exit code in the provider's message; it has no other place for it."""
    _, found, rest = message.partition("'StatusCode': ")
    return int(rest.split(",")[0].rstrip("}")) if found else None
