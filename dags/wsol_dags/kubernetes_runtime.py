"""The ``kubernetes`` runtime: a pod for each task.

Which pods are made is tested against the models of the Kubernetes client; no test runs them on a cluster.
"""

from typing import Any, cast

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.container import get_container_termination_message
from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException
from kubernetes.client import models as k8s

from wsol_dags.commands import AIRFLOW_RUN, KILLED, OUTCOME_FILE, failure, json_object, last_object
from wsol_dags.containers import RAW, WORK, Arguments, ContainerRuntime, Settings

#: Seconds between SIGTERM and SIGKILL of a cancelled task's pod.
GRACE = 8
#: Kubernetes keeps what a container writes here as its termination message.
TERMINATION_LOG = "/dev/termination-log"
USER = 10001


class KubernetesCommandOperator(KubernetesPodOperator):
    """Runs ``python -m pipeline …`` in a pod and returns the JSON object of its last line.

    Several GPUs are of one node: ``train`` starts itself once per GPU it sees (``torchrun``).

    Args:
        settings: of all pods.
        gpus: how many the pod gets.

    Raises:
        AirflowException: the command ended with 75, or its pod was killed or lost; Airflow tries again.
        AirflowFailException: it ended with another code but 0.
    """

    def __init__(self, *, settings: Settings, arguments: Arguments, folder: str, gpus: int, **kwargs: Any) -> None:
        super().__init__(
            image=settings.image,
            namespace=settings.namespace,
            service_account_name=settings.service_account,
            automount_service_account_token=False,
            # A pod has no working folder that could be a template.
            cmds=["env", f"--chdir={folder}", "python", "-u", "-m", "pipeline"],
            arguments=cast("list[str]", arguments),
            env_vars={**settings.environment, AIRFLOW_RUN: "{{ run_id }}", OUTCOME_FILE: TERMINATION_LOG},
            env_from=_secret(settings.secrets),
            volumes=_volumes(settings),
            volume_mounts=_volume_mounts(settings),
            container_resources=k8s.V1ResourceRequirements(limits={"nvidia.com/gpu": str(gpus)} if gpus else None),
            security_context=k8s.V1PodSecurityContext(
                run_as_non_root=True,
                run_as_user=USER,
                run_as_group=USER,
                fs_group=USER,
                fs_group_change_policy="OnRootMismatch",
                seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
            ),
            container_security_context=k8s.V1SecurityContext(
                allow_privilege_escalation=False,
                read_only_root_filesystem=True,
                capabilities=k8s.V1Capabilities(drop=["ALL"]),
            ),
            termination_grace_period=GRACE,
            startup_timeout_seconds=1800,
            log_pod_spec_on_failure=False,
            container_name_log_prefix_enabled=False,
            progress_callback=self._keep,
            **kwargs,
        )
        self._lines: list[str] = []

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the pod; its lines become the task's log as they come."""
        try:
            super().execute(context)
        except AirflowException as error:
            ended = terminated(self.remote_pod, self.base_container_name)
            if ended is None:
                raise
            said = get_container_termination_message(self.remote_pod, self.base_container_name)
            message = json_object(said or "").get("message") or str(error)
            raise failure(self.task_id, ended.exit_code, message, KILLED) from None
        return last_object(self._lines)

    def _keep(self, line: str) -> None:
        if line.startswith("{"):
            self._lines.append(line.strip())


class KubernetesRuntime(ContainerRuntime):
    """Tasks are pods of one cluster."""

    def _operator(self, arguments: Arguments, folder: str, gpus: int, **options: Any) -> BaseOperator:
        return KubernetesCommandOperator(
            settings=self._settings, arguments=arguments, folder=folder, gpus=gpus, **options
        )


def terminated(pod: k8s.V1Pod | None, container: str) -> k8s.V1ContainerStateTerminated | None:
    """How a container of a pod ended; None while it runs, and where the pod was lost."""
    statuses = (pod.status.container_statuses if pod and pod.status else None) or []
    return next((status.state.terminated for status in statuses if status.name == container and status.state), None)


def _secret(name: str) -> list[k8s.V1EnvFromSource]:
    """Every entry of the Secret as a variable: Airflow itself never sees them."""
    return [k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=name))] if name else []


def _volumes(settings: Settings) -> list[k8s.V1Volume]:
    claims = {"work": settings.work} | ({"raw": settings.raw} if settings.raw else {})
    memory = k8s.V1EmptyDirVolumeSource(medium="Memory", size_limit=f"{settings.shm_size}Mi")
    return [
        *(k8s.V1Volume(name=name, persistent_volume_claim=_claim(claim)) for name, claim in claims.items()),
        k8s.V1Volume(name="shm", empty_dir=memory),
        k8s.V1Volume(name="tmp", empty_dir=k8s.V1EmptyDirVolumeSource()),
    ]


def _claim(name: str) -> k8s.V1PersistentVolumeClaimVolumeSource:
    return k8s.V1PersistentVolumeClaimVolumeSource(claim_name=name)


def _volume_mounts(settings: Settings) -> list[k8s.V1VolumeMount]:
    places = {"work": WORK, "shm": "/dev/shm", "tmp": "/tmp"} | ({"raw": RAW} if settings.raw else {})
    return [k8s.V1VolumeMount(name=name, mount_path=path, read_only=name == "raw") for name, path in places.items()]
