"""The pods of the `kubernetes` runtime, rendered without a cluster and held against the client's models of the API."""

import json
from types import SimpleNamespace

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from kubernetes import client
from kubernetes.client import models as k8s
from wsol_dags.containers import Settings
from wsol_dags.kubernetes_runtime import KubernetesRuntime

VARIABLES = {"WSOL_IMAGE": "registry/wsol/pipeline:1", "WSOL_WORK": "wsol-work", "WSOL_RAW": "wsol-raw",
             "WSOL_SECRETS": "wsol-tasks", "WSOL_NAMESPACE": "ml", "WSOL_GPUS": "8",
             "WSOL_TASK_MLFLOW_TRACKING_URI": "http://mlflow:5000"}  # fmt: skip


def operator(gpus=0, **variables):
    settings = Settings.from_environment(VARIABLES | variables)
    arguments = ["repro", "--single-item", "train"]
    return KubernetesRuntime(settings).command(arguments, "/srv/wsol/w", gpus, task_id="train")


def pod(gpus=0, **variables):
    return operator(gpus, **variables).build_pod_request_obj(dry_run=True)


def as_json(made):
    return client.ApiClient().sanitize_for_serialization(made)


def check(value, kind, where="pod"):
    """Fail unless a JSON value has the type that the API's schema, from which the models are made, gives it."""
    if kind.startswith("list["):
        assert isinstance(value, list), where
        for i, item in enumerate(value):
            check(item, kind[5:-1], f"{where}[{i}]")
    elif kind.startswith(("dict(", "dict[")):
        assert isinstance(value, dict), where
        for key, item in value.items():
            check(item, kind[5:-1].split(", ", 1)[1], f"{where}.{key}")
    elif hasattr(k8s, kind):
        model = getattr(k8s, kind)
        fields = {model.attribute_map[name]: type_ for name, type_ in model.openapi_types.items()}
        assert value.keys() <= fields.keys(), f"{where}: {value.keys() - fields.keys()}"
        model(**{name: value.get(key) for name, key in model.attribute_map.items()})  # raises where one is required
        for key, item in value.items():
            check(item, fields[key], f"{where}.{key}")
    else:
        assert isinstance(value, {"str": str, "int": int, "bool": bool, "float": float, "object": object}[kind]), where


@pytest.mark.parametrize("gpus", [0, 1, 4])
def test_the_pod_is_valid_by_the_schema_of_the_api(gpus):
    check(as_json(pod(gpus)), "V1Pod")


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (lambda p: p["spec"].update(containerz=[]), "containerz"),
        (lambda p: p["spec"]["containers"][0].update(args="repro"), "args"),
        (lambda p: p["spec"]["containers"][0].pop("name"), "name"),
    ],
)
def test_the_check_refuses_what_the_api_would(damage, where):
    made = as_json(pod())
    damage(made)
    with pytest.raises((AssertionError, ValueError), match=where):
        check(made, "V1Pod")


def test_command_folder_and_limits():
    made = as_json(pod(4))
    (container,) = made["spec"]["containers"]
    assert made["metadata"]["namespace"] == "ml"
    assert container["image"] == "registry/wsol/pipeline:1"
    assert container["command"] == ["env", "--chdir=/srv/wsol/w", "python", "-u", "-m", "pipeline"]
    assert container["args"] == ["repro", "--single-item", "train"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "4"}}
    assert made["spec"]["restartPolicy"] == "Never"
    assert made["spec"]["terminationGracePeriodSeconds"] < 10


def test_without_gpus_there_is_no_limit():
    assert "limits" not in as_json(pod(1, WSOL_GPUS="0"))["spec"]["containers"][0].get("resources", {})


def test_volumes_are_claims_and_memory():
    spec = as_json(pod())["spec"]
    volumes = {v.pop("name"): v for v in spec["volumes"]}
    assert volumes["work"] == {"persistentVolumeClaim": {"claimName": "wsol-work"}}
    assert volumes["raw"] == {"persistentVolumeClaim": {"claimName": "wsol-raw"}}
    assert volumes["shm"] == {"emptyDir": {"medium": "Memory", "sizeLimit": "1024Mi"}}
    mounts = {m["name"]: (m["mountPath"], m["readOnly"]) for m in spec["containers"][0]["volumeMounts"]}
    assert mounts == {
        "work": ("/srv/wsol", False), "raw": ("/srv/raw", True), "shm": ("/dev/shm", False), "tmp": ("/tmp", False),
    }  # fmt: skip


def test_nothing_runs_as_root_and_secrets_never_pass_through_airflow():
    spec = as_json(pod())["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert container["envFrom"] == [{"secretRef": {"name": "wsol-tasks"}}]
    names = {entry["name"] for entry in container["env"]}
    assert names == {"WSOL_STATE", "MLFLOW_TRACKING_URI", "WSOL_AIRFLOW_RUN", "WSOL_OUTCOME_FILE"}


def ended(code, message):
    state = k8s.V1ContainerState(terminated=k8s.V1ContainerStateTerminated(exit_code=code, message=message))
    status = k8s.V1ContainerStatus(name="base", state=state, image="i", image_id="i", ready=False, restart_count=0)
    return k8s.V1Pod(status=k8s.V1PodStatus(container_statuses=[status]))


@pytest.mark.parametrize(("code", "kind"), [(75, AirflowException), (137, AirflowException), (2, AirflowFailException)])
def test_exit_codes_say_whether_to_try_again(monkeypatch, code, kind):
    def fail(self, context):
        self.remote_pod = ended(code, json.dumps({"exit_code": code, "message": "lambda is wrong"}))
        raise AirflowException("Pod returned a failure")

    monkeypatch.setattr(KubernetesPodOperator, "execute", fail)
    with pytest.raises(AirflowException, match=f"^train ended with exit code {code}: lambda is wrong$") as error:
        operator().execute({"ti": SimpleNamespace()})
    assert type(error.value) is kind


def test_a_lost_pod_may_pass(monkeypatch):
    def fail(self, context):
        self.remote_pod = None
        raise AirflowException("node is gone")

    monkeypatch.setattr(KubernetesPodOperator, "execute", fail)
    with pytest.raises(AirflowException, match="node is gone") as error:
        operator().execute({"ti": SimpleNamespace()})
    assert type(error.value) is AirflowException


def test_the_last_object_of_the_log_is_the_result(monkeypatch):
    def succeed(self, context):
        for line in ("{}", "working", '{"stage": "train"}', "bye"):
            self._progress_callback(line)

    monkeypatch.setattr(KubernetesPodOperator, "execute", succeed)
    assert operator().execute({"ti": SimpleNamespace()}) == {"stage": "train"}
