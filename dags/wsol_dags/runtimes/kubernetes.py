"""The ``kubernetes`` runtime: a pod for each task.

Which pods are made is tested against the models of the Kubernetes client, what becomes of their logs against a stub of
its API; no test runs them on a cluster.
"""

import re
from typing import Any, cast

from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback
from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import generic_api_retry
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.container import get_container_termination_message
from airflow.sdk import BaseOperator, Context
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.exceptions import AirflowException
from kubernetes.client import CoreV1Api
from kubernetes.client import models as k8s

from wsol_dags.commands import AIRFLOW_RUN, KILLED, OUTCOME_FILE, failure, json_object, last_object
from wsol_dags.runtimes.access import Access
from wsol_dags.runtimes.containers import CACHE, CHECKOUT, NO_ACCOUNT, RAW, WORK, Arguments, ContainerRuntime, Settings

#: Seconds between SIGTERM and SIGKILL of a cancelled task's pod.
GRACE = 8
#: Kubernetes keeps what a container writes here as its termination message.
TERMINATION_LOG = "/dev/termination-log"
USER = 10001
#: Says which of the policies in docker/kubernetes/network.yaml holds for a pod.
NETWORK_LABEL = "wsol-network"
#: Lines at the end of a pod's log among which the result is: a library may still warn after it.
TAIL = 1000
#: What a claim can be called: a subdomain name of RFC 1123.
LONGEST_NAME = 253
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class ResultCallback(KubernetesPodOperatorCallback):
    """Reads the result from the end of the log, when the container has ended and before its pod is removed.

    Not from the lines as they come: the provider repeats some where reading was interrupted, and misses the last where
    the container ended meanwhile.
    """

    @staticmethod
    @generic_api_retry  # type: ignore[untyped-decorator]
    def on_pod_completion(*, client: CoreV1Api, operator: Any, **kwargs: Any) -> None:
        """Set ``operator.result`` to the last JSON object, or to an empty one.

        Raises:
            ApiException, HTTPError: the log cannot be read, in several tries.
        """
        pod = operator.pod.metadata
        # Unless told not to, the client would take a log of one JSON line for its own and return it as Python's repr.
        log = client.read_namespaced_pod_log(
            pod.name, pod.namespace, container=operator.base_container_name, tail_lines=TAIL, _preload_content=False
        )
        operator.result = last_object(log.data.decode(errors="replace").splitlines())


class KubernetesCommandOperator(KubernetesPodOperator):
    """Runs ``python -m pipeline …`` in a pod and returns the JSON object of its last line.

    Several GPUs are of one node: ``train`` starts itself once per GPU it sees (``torchrun``).

    Args:
        settings: of all pods.
        gpus: how many the pod gets.
        access: what it may reach.

    Raises:
        AirflowException: the command ended with 75, its pod was killed or lost, or the log cannot be read; Airflow
            tries again.
        AirflowFailException: it ended with another code but 0.
    """

    def __init__(
        self, *, settings: Settings, arguments: Arguments, folder: str, gpus: int, access: Access, **kwargs: Any
    ) -> None:
        environment = {**settings.environment, **({} if access.identity else NO_ACCOUNT)}
        super().__init__(
            image=settings.image,
            namespace=settings.namespace,
            service_account_name=settings.service_account,
            automount_service_account_token=False,
            # A pod has no working folder that could be a template.
            cmds=["env", f"--chdir={folder}", "python", "-u", "-m", "pipeline"],
            arguments=cast("list[str]", arguments),
            env_vars={**environment, AIRFLOW_RUN: "{{ run_id }}", OUTCOME_FILE: TERMINATION_LOG},
            env_from=_secret(settings.secrets, access.identity),
            labels={NETWORK_LABEL: access.reach},
            volumes=_volumes(settings),
            volume_mounts=_volume_mounts(settings, access),
            container_resources=k8s.V1ResourceRequirements(limits=_limits(settings, gpus) or None),
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
            callbacks=ResultCallback,
            # True adds a container to the pod for the result; `execute` pushes it.
            do_xcom_push=False,
            **kwargs,
        )
        self.result: dict[str, Any] = {}

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the pod; its lines become the task's log as they come, its result the task's return value in XCom."""
        try:
            super().execute(context)
        except AirflowException as error:
            ended = terminated(self.remote_pod, self.base_container_name)
            if ended is None:
                raise
            said = get_container_termination_message(self.remote_pod, self.base_container_name)
            message = json_object(said or "").get("message") or str(error)
            raise failure(self.task_id, ended.exit_code, message, KILLED) from None
        context["ti"].xcom_push(BaseXCom.XCOM_RETURN_KEY, self.result)
        return self.result


class KubernetesRuntime(ContainerRuntime):
    """Tasks are pods of one cluster.

    Raises:
        ValueError: ``WSOL_WORK`` or ``WSOL_RAW`` is not what a claim can be called.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        claims = {"WSOL_WORK": settings.work} | ({"WSOL_RAW": settings.raw} if settings.raw else {})
        for variable, claim in claims.items():
            if len(claim) > LONGEST_NAME or not NAME.fullmatch(claim):
                raise ValueError(
                    f"{variable} is {claim!r}, no persistent volume claim can be called that: set it to the name of "
                    "one (RFC 1123: lower case letters, digits, '-' and '.')."
                )

    def _operator(self, arguments: Arguments, folder: str, gpus: int, access: Access, **options: Any) -> BaseOperator:
        return KubernetesCommandOperator(
            settings=self._settings, arguments=arguments, folder=folder, gpus=gpus, access=access, **options
        )


def terminated(pod: k8s.V1Pod | None, container: str) -> k8s.V1ContainerStateTerminated | None:
    """How a container of a pod ended; None while it runs, and where the pod was lost."""
    statuses = (pod.status.container_statuses if pod and pod.status else None) or []
    return next((status.state.terminated for status in statuses if status.name == container and status.state), None)


def _limits(settings: Settings, gpus: int) -> dict[str, str]:
    """Of processes and threads a pod has no limit of its own: the kubelet's ``podPidsLimit`` is that of a node."""
    memory = {"memory": f"{settings.memory}Mi"} if settings.memory else {}
    return memory | ({"nvidia.com/gpu": str(gpus)} if gpus else {})


def _secret(name: str, identity: str) -> list[k8s.V1EnvFromSource]:
    """Every entry of the identity's Secret as a variable: Airflow itself never sees them."""
    if not name or not identity:
        return []
    return [k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=f"{name}-{identity}"))]


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


def _volume_mounts(settings: Settings, access: Access) -> list[k8s.V1VolumeMount]:
    """What a task has no need to write it can read only; checkout and cache are folders of the claim for work."""
    places = {"work": WORK, "shm": "/dev/shm", "tmp": "/tmp"} | ({"raw": RAW} if settings.raw else {})
    parts = {CHECKOUT: True, CACHE: not access.cache}
    return [
        *(k8s.V1VolumeMount(name=name, mount_path=path, read_only=name == "raw") for name, path in places.items()),
        *(
            k8s.V1VolumeMount(name="work", mount_path=path, sub_path=path.removeprefix(f"{WORK}/"), read_only=read_only)
            for path, read_only in parts.items()
        ),
    ]
