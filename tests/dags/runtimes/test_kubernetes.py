"""The `kubernetes` runtime without a cluster.

Its pods are held against the client's models of the API; they run on a stand-in for the API, over HTTP.
"""

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils import pod_manager
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.sdk.execution_time import task_runner
from kubernetes import client
from kubernetes.client import models as k8s
from wsol_dags.runtimes.access import NOTHING, Access
from wsol_dags.runtimes.containers import Settings
from wsol_dags.runtimes.kubernetes import KubernetesRuntime

from tests.project import ROOT

VARIABLES = {"WSOL_IMAGE": "registry/wsol/pipeline:1", "WSOL_WORK": "wsol-work", "WSOL_RAW": "wsol-raw",
             "WSOL_SECRETS": "wsol-tasks", "WSOL_NAMESPACE": "ml", "WSOL_GPUS": "8",
             "WSOL_TASK_MLFLOW_TRACKING_URI": "http://mlflow:5000"}  # fmt: skip


def operator(gpus=0, access=NOTHING, **variables):
    settings = Settings.from_environment(VARIABLES | variables)
    arguments = ["repro", "--single-item", "train"]
    return KubernetesRuntime(settings).command(arguments, "/srv/wsol/w", gpus, access, task_id="train")


def pod(gpus=0, access=NOTHING, **variables):
    return operator(gpus, access, **variables).build_pod_request_obj(dry_run=True)


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


def test_volumes_are_claims_and_memory_and_a_place_for_temporary_files():
    spec = as_json(pod())["spec"]
    assert spec["volumes"] == [
        {"name": "work", "persistentVolumeClaim": {"claimName": "wsol-work"}},
        {"name": "raw", "persistentVolumeClaim": {"claimName": "wsol-raw"}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1024Mi"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts = {m["mountPath"]: (m["name"], m["readOnly"]) for m in spec["containers"][0]["volumeMounts"]}
    assert mounts == {
        "/srv/wsol": ("work", False), "/srv/raw": ("raw", True), "/dev/shm": ("shm", False), "/tmp": ("tmp", False),
        "/srv/wsol/checkout": ("work", True), "/srv/wsol/cache": ("work", True),
    }  # fmt: skip


def test_only_who_writes_results_may_write_the_cache():
    (container,) = as_json(pod(access=Access(cache=True)))["spec"]["containers"]
    parts = {m["subPath"]: (m["mountPath"], m["readOnly"]) for m in container["volumeMounts"] if "subPath" in m}
    assert parts == {"checkout": ("/srv/wsol/checkout", True), "cache": ("/srv/wsol/cache", False)}


def test_memory_has_the_limit_of_the_settings():
    (container,) = as_json(pod(1, WSOL_MEMORY_MIB="2048"))["spec"]["containers"]
    assert container["resources"] == {"limits": {"memory": "2048Mi", "nvidia.com/gpu": "1"}}


def test_without_raw_data_there_is_no_claim_for_it():
    spec = as_json(pod(WSOL_RAW=""))["spec"]
    assert [volume["name"] for volume in spec["volumes"]] == ["work", "shm", "tmp"]


@pytest.mark.parametrize("variable", ["WSOL_WORK", "WSOL_RAW"])
@pytest.mark.parametrize("name", ["wsol_work", "Work", "-work", "work-", "a..b", "work\n", "a" * 254])
def test_what_no_claim_can_be_called_is_refused(variable, name):
    with pytest.raises(ValueError, match=f"^{variable} is .*set it to the name of one"):
        operator(**{variable: name})


def test_the_claim_of_the_checkout_has_no_default():
    with pytest.raises(ValueError, match="WSOL_WORK is 'wsol_work'"):
        KubernetesRuntime(Settings.from_environment({}))


@pytest.mark.parametrize("name", ["w", "0", "wsol-work.v2", "a" * 253])
def test_what_a_claim_can_be_called_is_taken(name):
    assert as_json(pod(WSOL_WORK=name))["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": name}


def test_nothing_runs_as_root_and_secrets_never_pass_through_airflow():
    spec = as_json(pod(access=Access("promotion")))["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"] == {
        "runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001,
        "fsGroup": 10001, "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert container["envFrom"] == [{"secretRef": {"name": "wsol-tasks-promotion"}}]
    names = {entry["name"] for entry in container["env"]}
    assert names == {"WSOL_STATE", "MLFLOW_TRACKING_URI", "WSOL_AIRFLOW_RUN", "WSOL_OUTCOME_FILE"}


def test_a_command_without_identity_has_no_secret_and_does_not_stream():
    (container,) = as_json(pod())["spec"]["containers"]
    assert not container.get("envFrom")
    assert {"name": "WSOL_TRACKING", "value": "off"} in container["env"]


POLICIES = list(yaml.safe_load_all((ROOT / "docker/kubernetes/network.yaml").read_text()))


@pytest.mark.parametrize("access", [NOTHING, Access("training"), Access("promotion"), Access("publish")])
def test_exactly_one_network_policy_holds_for_a_pod(access):
    labels = as_json(pod(access=access))["metadata"]["labels"]
    (policy,) = [p for p in POLICIES if p["spec"]["podSelector"]["matchLabels"].items() <= labels.items()]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy["spec"], "nobody reaches a task"
    assert ("egress" in policy["spec"]) == bool(access.identity)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy["metadata"]["name"])
def test_the_network_policies_are_valid_by_the_schema_of_the_api(policy):
    check(policy, "V1NetworkPolicy")


def test_the_label_of_a_training_is_a_template():
    task = operator(access=Access(network="{{ 'tasks' if x else 'none' }}"))
    assert "labels" in task.template_fields
    assert task.labels["wsol-network"] == "{{ 'tasks' if x else 'none' }}"


class Cluster(ThreadingHTTPServer):
    """Answers as the API does about one pod, whose container ends with the last stream of its log.

    Args:
        lines: the container prints, in a second each.
        streams: first line and end of each answer to who follows the log; one with an end is broken off there.
        code: the container ends with.
        message: it leaves.
    """

    def __init__(self, lines=(), streams=((0, None),), code=0, message=""):
        super().__init__(("127.0.0.1", 0), Answers)
        self.lines, self.streams, self.code, self.message = list(lines), list(streams), code, message
        self.pod, self.calls, self.busy = None, [], 0

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def execute(self, task):
        """What a task returns, and what it pushes."""
        configuration = client.Configuration(host=f"http://127.0.0.1:{self.server_port}")
        configuration.proxy = None
        task.client = client.CoreV1Api(client.ApiClient(configuration))
        task.hook = SimpleNamespace(is_in_cluster=False)
        pushed = []
        ti = SimpleNamespace(dag_id="d", task_id="train", map_index=-1, try_number=1,
                             xcom_push=lambda key, value: pushed.append((key, value)))  # fmt: skip
        result = task.execute({"ti": ti, "run_id": "r", "dag": SimpleNamespace()})
        return result, [value for key, value in pushed if key == "return_value"]

    def present(self):
        """The pod as it is now."""
        phase = "Running" if self.streams else "Failed" if self.code else "Succeeded"
        # The provider follows the log of an ended container only if it has ended lately.
        now = datetime.now(UTC).isoformat()
        ended = {"exitCode": self.code, "message": self.message, "finishedAt": now}
        state = {"running": {}} if self.streams else {"terminated": ended}
        status = {"name": "base", "image": "i", "imageID": "i", "ready": True, "restartCount": 0, "state": state}
        return self.pod | {"status": {"phase": phase, "containerStatuses": [status]}}


class Answers(BaseHTTPRequestHandler):
    """Of the stand-in for the API."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        cluster, url = self.server, urlsplit(self.path)
        asked = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path.endswith("/log") and asked.get("follow") == "True":
            self.follow(*cluster.streams[0])
        elif url.path.endswith("/log") and cluster.busy:
            cluster.busy -= 1
            self.answer("{}", 503)
        elif url.path.endswith("/log"):
            self.answer("\n".join(cluster.lines[-int(asked["tailLines"]) :]) + "\n")
        elif url.path.endswith("/pods"):
            self.answer(json.dumps({"items": [cluster.present()] if cluster.pod else []}))
        elif url.path.endswith("/events"):
            self.answer('{"items": []}')
        else:
            self.answer(json.dumps(cluster.present()))

    def do_POST(self):
        self.server.pod = json.loads(self.body())
        self.answer(json.dumps(self.server.pod))

    def do_PATCH(self):
        self.body()
        self.answer(json.dumps(self.server.present()))

    def do_DELETE(self):
        self.body()
        self.answer(json.dumps(self.server.present()))

    def follow(self, first, last):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for i, line in list(enumerate(self.server.lines))[first:last]:
            text = f"2026-01-01T00:00:{i:02}.5Z {line}\n".encode()
            self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
        self.server.streams.pop(0)
        if last is None:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, text, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, form, *values):
        self.server.calls.append(self.requestline)


LINES = ['{"stage": "train"}', "working", '{"reproduced": "train", "λ": [1]}', "warning: bye"]
RESULT = {"reproduced": "train", "λ": [1]}


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr(pod_manager.time, "sleep", lambda _: None)


@pytest.mark.parametrize(
    "streams",
    [
        [(0, None)],
        [(0, 3), (1, None)],  # broken, lines are repeated
        [(0, 1), (0, 2), (0, 1)],  # broken, and the container ended before it was followed again
    ],
)
def test_the_last_object_of_the_log_is_returned_and_pushed(no_pause, streams):
    with Cluster(LINES, streams) as cluster:
        assert cluster.execute(operator()) == (RESULT, [RESULT])
        assert not cluster.streams
        assert [call.split()[0] for call in cluster.calls].count("POST") == 1
        assert cluster.calls[-1].startswith("DELETE")


@pytest.mark.parametrize("lines", [[json.dumps(RESULT)], ["{}", "no result", "{broken"]])
def test_a_log_of_one_line_or_without_a_result(no_pause, lines):
    with Cluster(lines) as cluster:
        result = RESULT if len(lines) == 1 else {}
        assert cluster.execute(operator()) == (result, [result])


def test_a_long_log_is_not_read_twice(no_pause):
    with Cluster(["noise"] * 1200 + LINES) as cluster:
        assert cluster.execute(operator()) == (RESULT, [RESULT])
        (end,) = (call for call in cluster.calls if "/log?" in call and "follow" not in call)
        assert "container=base" in end
        assert "tailLines=1000" in end


def test_the_end_of_the_log_is_asked_for_again_where_the_api_is_busy(no_pause):
    with Cluster(LINES) as cluster:
        cluster.busy = 2
        assert cluster.execute(operator()) == (RESULT, [RESULT])


def test_a_result_that_cannot_be_read_is_no_empty_one(no_pause):
    with Cluster(LINES) as cluster, pytest.raises(AirflowException) as error:
        cluster.busy = 99
        cluster.execute(operator())
    assert type(error.value) is AirflowException


def test_a_pod_that_is_still_running_is_taken_up_again(no_pause):
    with Cluster(LINES) as cluster:
        cluster.pod = as_json(pod())
        cluster.pod["metadata"]["labels"]["try_number"] = "1"
        assert cluster.execute(operator()) == (RESULT, [RESULT])
        assert not [call for call in cluster.calls if call.startswith("POST")]


def test_airflow_does_not_push_the_result_again():
    with DAG("d", schedule=None):
        task = operator()
    ti = SimpleNamespace(task=task, is_mapped=False, xcom_push=pytest.fail)
    task_runner._push_xcom_if_needed(RESULT, ti, SimpleNamespace(info=pytest.fail))
    assert task.output.key == "return_value"


@pytest.mark.parametrize(("code", "kind"), [(75, AirflowException), (137, AirflowException), (2, AirflowFailException)])
def test_exit_codes_say_whether_to_try_again(no_pause, code, kind):
    message = json.dumps({"exit_code": code, "message": "lambda is wrong"})
    with (
        Cluster(LINES, code=code, message=message) as cluster,
        pytest.raises(AirflowException, match=f"^train ended with exit code {code}: lambda is wrong$") as error,
    ):
        cluster.execute(operator())
    assert type(error.value) is kind


def test_a_lost_pod_may_pass(monkeypatch):
    def fail(self, context):
        self.remote_pod = None
        raise AirflowException("node is gone")

    monkeypatch.setattr(KubernetesPodOperator, "execute", fail)
    with pytest.raises(AirflowException, match="node is gone") as error:
        operator().execute({"ti": SimpleNamespace()})
    assert type(error.value) is AirflowException
