"""The operators of the `docker` runtime with a stand-in for the engine."""

from types import SimpleNamespace

import jinja2
import pytest
import requests
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from docker.errors import APIError, NotFound
from docker.types import HostConfig
from wsol_dags.runtimes import docker
from wsol_dags.runtimes.access import NOTHING, Access
from wsol_dags.runtimes.containers import Settings
from wsol_dags.runtimes.docker import DockerRuntime
from wsol_dags.stage_tasks import stage_tasks

from tests.project import ROOT

TASK = SimpleNamespace(dag_id="d", run_id="run 1", task_id="train", map_index=-1)
CONTEXT = {
    "run_id": "run 1", "ti": TASK, "dag": SimpleNamespace(params={"revision": None}), "params": {"revision": None},
    "dag_run": SimpleNamespace(run_type="manual", conf={}),
}  # fmt: skip
VARIABLES = {"WSOL_IMAGE": "wsol/pipeline:1", "WSOL_WORK": "work", "WSOL_RAW": "raw", "WSOL_NETWORK": "tasks",
             "WSOL_SHM_MIB": "64", "WSOL_TASK_MLFLOW_TRACKING_URI": "http://mlflow:5000"}  # fmt: skip


def answer(status, message):
    response = requests.Response()
    response.status_code = status
    return response, message


class Engine:
    """Answers as docker's client does; remembers what it was asked."""

    def __init__(self, lines=(), status=0, start_error=None):
        self.lines, self.status, self.start_error = lines, status, start_error
        self.calls = []

    def create_host_config(self, **kwargs):
        return HostConfig(version="1.41", **kwargs)

    def create_container(self, **kwargs):
        self.created = kwargs
        return {"Id": "abc"}

    def images(self, name):
        return [name]

    def attach(self, container, **_):
        return iter([line.encode() + b"\n" for line in self.lines])

    def start(self, container):
        if self.start_error:
            raise self.start_error

    def wait(self, container):
        return {"Error": None, "StatusCode": self.status}

    def stop(self, container, timeout):
        self.calls.append(("stop", container, timeout))

    def remove_container(self, container, force):
        self.calls.append(("remove", container))
        if container != "abc":
            response, message = answer(404, "no such container")
            raise NotFound(message, response, message)


def operator(monkeypatch, engine, gpus=0, access=NOTHING, **variables):
    monkeypatch.setattr(docker.DockerHook, "api_client", engine)
    settings = Settings.from_environment(VARIABLES | variables)
    return DockerRuntime(settings).command(
        ["repro", "--single-item", "train"], "/srv/wsol/w", gpus, access, task_id="train"
    )


TRAINING = Access("training")


@pytest.fixture
def secrets(tmp_path):
    """A folder with those of each identity."""
    for identity in ("training", "promotion", "publish"):
        (tmp_path / identity).mkdir()
        (tmp_path / identity / "MLFLOW_TRACKING_PASSWORD").write_text(f"planted for {identity}\n")
    return str(tmp_path)


def test_a_container_is_made_as_the_settings_say(monkeypatch, secrets):
    engine = Engine(["working", '{"stage": "train"}', "noise"])
    task = operator(monkeypatch, engine, access=TRAINING, WSOL_SECRETS=secrets, WSOL_MEMORY_MIB="64", WSOL_PIDS="99")
    assert task.execute(CONTEXT) == {"stage": "train"}
    made = engine.created
    assert made["image"] == "wsol/pipeline:1"
    assert made["entrypoint"] == ["python", "-u", "-m", "pipeline"]
    assert made["command"] == ["repro", "--single-item", "train"]
    assert made["working_dir"] == "/srv/wsol/w"
    assert made["user"] is None, "the image's own, which is not root"
    assert made["environment"] == {
        "WSOL_STATE": "/srv/wsol/state", "MLFLOW_TRACKING_URI": "http://mlflow:5000", "WSOL_AIRFLOW_RUN": "run 1",
        "MLFLOW_TRACKING_PASSWORD": "planted for training",
    }  # fmt: skip
    host = made["host_config"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Tmpfs"] == {"/tmp": ""}
    assert host["NetworkMode"] == "tasks"
    assert host["ShmSize"] == 64 * 2**20
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (64 * 2**20, 64 * 2**20, 99)
    assert [(m["Type"], m["Source"], m["Target"], m["ReadOnly"]) for m in host["Mounts"]] == [
        ("volume", "work", "/srv/wsol", False), ("volume", "raw", "/srv/raw", True),
    ]  # fmt: skip
    assert "DeviceRequests" not in host
    assert ("remove", "abc") in engine.calls


def test_a_command_without_identity_has_no_network_no_secret_and_does_not_stream(monkeypatch, secrets):
    engine = Engine()
    operator(monkeypatch, engine, WSOL_SECRETS=secrets).execute(CONTEXT)
    assert "planted" not in str(engine.created)
    assert engine.created["host_config"]["NetworkMode"] == "none"
    assert engine.created["environment"]["WSOL_TRACKING"] == "off"


@pytest.mark.parametrize("identity", ["training", "promotion", "publish"])
def test_a_task_gets_the_secrets_of_its_identity_and_no_other(monkeypatch, secrets, identity):
    engine = Engine()
    operator(monkeypatch, engine, access=Access(identity), WSOL_SECRETS=secrets).execute(CONTEXT)
    assert engine.created["environment"]["MLFLOW_TRACKING_PASSWORD"] == f"planted for {identity}"
    assert str(engine.created).count("planted for") == 1
    assert "WSOL_TRACKING" not in engine.created["environment"]


def test_an_identity_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="identity is 'admin'; it must be one of training, promotion, publish"):
        Access("admin")


@pytest.mark.parametrize(("online", "network"), [("tasks", "tasks"), ("none", "none"), ("", "none"), ("host", "none")])
def test_the_network_is_the_one_that_a_template_came_to(monkeypatch, online, network):
    engine = Engine()
    task = operator(monkeypatch, engine, access=Access(network="{{ x }}"))
    assert "reach" in task.template_fields
    task.reach = online
    task.execute(CONTEXT)
    assert engine.created["host_config"]["NetworkMode"] == network


@pytest.mark.parametrize(("fetches", "network"), [(True, "tasks"), (False, "none")])
def test_a_training_has_the_network_where_its_workspace_says_that_it_fetches_weights(monkeypatch, fetches, network):
    engine = Engine()
    monkeypatch.setattr(docker.DockerHook, "api_client", engine)
    with DAG("d", schedule=None) as dag:
        stage_tasks(DockerRuntime(Settings.from_environment(VARIABLES)), ROOT, "ti.xcom_pull(task_ids='workspace')")
    task = dag.get_task("train")
    made = {"workspace": "/srv/wsol/w", "fetches_weights": fetches}
    task.render_template_fields({"ti": SimpleNamespace(xcom_pull=lambda task_ids: made)})
    task.execute(CONTEXT)
    assert engine.created["host_config"]["NetworkMode"] == network
    assert engine.created["working_dir"] == "/srv/wsol/w"
    assert engine.created["environment"]["WSOL_TRACKING"] == "off"


def test_a_training_with_an_identity_reaches_mlflow_and_streams(tmp_path):
    stages = (ROOT / "dvc.yaml").read_text()
    assert "fetches_weights: true" in stages
    (tmp_path / "dvc.yaml").write_text(stages.replace("fetches_weights: true", "identity: training"))
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    with DAG("d", schedule=None) as dag:
        stage_tasks(DockerRuntime(Settings.from_environment(VARIABLES)), tmp_path, "made")
    assert dag.get_task("train").reach == "tasks"
    assert "WSOL_TRACKING" not in dag.get_task("train").environment


@pytest.mark.parametrize("writes", [True, False])
def test_checkout_and_raw_data_are_read_only_and_so_is_the_cache_for_who_writes_no_result(monkeypatch, writes):
    engine = Engine()
    settings = {"WSOL_CHECKOUT": "checkout", "WSOL_CACHE": "cache"}
    operator(monkeypatch, engine, access=Access(cache=writes), **settings).execute(CONTEXT)
    assert {m["Target"]: m["ReadOnly"] for m in engine.created["host_config"]["Mounts"]} == {
        "/srv/wsol": False, "/srv/wsol/checkout": True, "/srv/wsol/cache": not writes, "/srv/raw": True,
    }  # fmt: skip


def test_tasks_reach_what_they_need():
    """Of the stages only the one that records has an account; the training reaches out where weights are fetched."""
    own = {"WSOL_SECRETS": "/run/wsol/tasks", "WSOL_CACHE": "cache"}
    runtime = DockerRuntime(Settings.from_environment(VARIABLES | own))
    with DAG("d", schedule=None) as dag:
        stage_tasks(runtime, ROOT, "made")
        runtime.create_workspace({}, task_id="create")
        runtime.remove_workspace(task_id="remove")
    reach = {task.task_id: task.reach for task in dag.tasks}
    template = reach.pop("train")
    assert {task for task, network in reach.items() if network != "none"} == {"track"}
    assert reach["track"] == "tasks"
    for made, network in ({"fetches_weights": True}, "tasks"), ({"fetches_weights": False}, "none"), ({}, "none"):
        assert jinja2.Environment().from_string(template).render(made=made) == network
    assert {task.task_id: str(task._secrets) for task in dag.tasks if task._secrets} == {
        "track": "/run/wsol/tasks/training"
    }
    writers = {
        task.task_id
        for task in dag.tasks
        if any(m["Target"] == "/srv/wsol/cache" and not m["ReadOnly"] for m in task.mounts)
    }
    assert writers == {task.task_id for task in dag.tasks} - {"create", "remove", "check"}


@pytest.mark.parametrize("dag_file", ["wsol_retrain", "wsol_sweep"])
def test_only_the_promotion_registers_models_and_only_publishing_has_the_keys_of_the_remote(monkeypatch, dag_file):
    for name, value in (VARIABLES | {"WSOL_SECRETS": "/s", "WSOL_RUNTIME": "docker"}).items():
        monkeypatch.setenv(name, value)
    (dag,) = DagBag(str(ROOT / f"dags/{dag_file}.py")).dags.values()
    found = {task.task_id: task._secrets.name for task in dag.tasks if getattr(task, "_secrets", None)}
    assert (
        found
        == {
            "wsol_retrain": {"track": "training", "judge": "promotion", "promote": "promotion", "publish": "publish"},
            "wsol_sweep": dict.fromkeys(("open", "row.track", "row.add", "close"), "training"),
        }[dag_file]
    )


def test_nothing_secret_is_in_a_template_field(monkeypatch, secrets):
    task = operator(monkeypatch, Engine(), access=TRAINING, WSOL_SECRETS=secrets)
    task.execute(CONTEXT)
    assert "planted" not in str([getattr(task, name) for name in task.template_fields])


def test_airflow_masks_every_secret_before_the_container_can_print_it(monkeypatch, secrets):
    masked, engine = [], Engine()
    monkeypatch.setattr(docker, "mask_secret", masked.append)
    monkeypatch.setattr(
        engine, "create_container", lambda **_: pytest.fail("not masked yet") if not masked else {"Id": "abc"}
    )
    operator(monkeypatch, engine, access=TRAINING, WSOL_SECRETS=secrets).execute(CONTEXT)
    assert masked == ["planted for training"]


@pytest.mark.parametrize("value", ["1g", "-1", ""])
def test_a_number_that_is_none_is_refused_by_name(value):
    with pytest.raises(ValueError, match=r"WSOL_SHM_MIB=.* must be a whole number"):
        Settings.from_environment({"WSOL_SHM_MIB": value})


def test_gpus_are_requested_by_number(monkeypatch, tmp_path):
    monkeypatch.setattr(docker, "reserved_gpus", lambda count, total: _held(["1", "3"][:count]))
    engine = Engine()
    operator(monkeypatch, engine, gpus=2, WSOL_GPUS="4").execute(CONTEXT)
    (request,) = engine.created["host_config"]["DeviceRequests"]
    assert (request["DeviceIDs"], request["Capabilities"], request["Count"]) == (["1", "3"], [["gpu"]], 0)


def _held(numbers):
    from contextlib import nullcontext

    return nullcontext(numbers)


def test_without_gpus_a_stage_that_would_use_one_requests_none(monkeypatch):
    engine = Engine()
    operator(monkeypatch, engine, gpus=1, WSOL_GPUS="0").execute(CONTEXT)
    assert "DeviceRequests" not in engine.created["host_config"]


def test_an_engine_without_gpus_says_what_to_do(monkeypatch, tmp_path):
    response, message = answer(500, 'could not select device driver "" with capabilities: [[gpu]]')
    engine = Engine(start_error=APIError(message, response, message))
    monkeypatch.setattr(docker, "reserved_gpus", lambda count, total: _held(["0"]))
    with pytest.raises(
        AirflowFailException, match=r"NVIDIA Container Toolkit.*compose\.cpu\.yaml .* in docker/\.env, then `make up`"
    ):
        operator(monkeypatch, engine, gpus=1, WSOL_GPUS="1").execute(CONTEXT)
    assert ("remove", "abc") in engine.calls


def test_another_fault_of_the_engine_may_pass(monkeypatch):
    response, message = answer(500, "disk is full")
    with pytest.raises(APIError):
        operator(monkeypatch, Engine(start_error=APIError(message, response, message))).execute(CONTEXT)


@pytest.mark.parametrize(("code", "kind"), [(75, AirflowException), (137, AirflowException), (143, AirflowException),
                                            (1, AirflowFailException), (2, AirflowFailException)])  # fmt: skip
def test_exit_codes_say_whether_to_try_again(monkeypatch, code, kind):
    lines = ["error: params.yaml: train.lambda is wrong", "ERROR: failed to reproduce 'train'"]
    with pytest.raises(AirflowException, match=f"^train ended with exit code {code}: error: params.yaml") as error:
        operator(monkeypatch, Engine(lines, code)).execute(CONTEXT)
    assert type(error.value) is kind


def test_a_container_that_an_earlier_try_left_is_removed_first(monkeypatch):
    engine = Engine()
    task = operator(monkeypatch, engine)
    task.execute(CONTEXT)
    first, name = engine.calls[0]
    assert (first, name) == ("remove", engine.created["name"])
    again = Engine()
    operator(monkeypatch, again).execute(CONTEXT)
    assert again.created["name"] == name
    other = Engine()
    operator(monkeypatch, other).execute(CONTEXT | {"ti": SimpleNamespace(**vars(TASK) | {"map_index": 1})})
    assert other.created["name"] != name
    elsewhere = Engine()
    operator(monkeypatch, elsewhere, WSOL_WORK="other_stack").execute(CONTEXT)
    assert elsewhere.created["name"] != name


def test_a_cancelled_container_is_stopped_within_the_5_s_that_airflow_gives(monkeypatch):
    engine = Engine()
    task = operator(monkeypatch, engine)
    task.on_kill()
    assert engine.calls == []
    task.container = {"Id": "abc"}
    task.on_kill()
    assert engine.calls == [("stop", "abc", 2), ("remove", "abc")]


def test_the_workspace_is_made_from_the_form(monkeypatch):
    task = DockerRuntime(Settings.from_environment(VARIABLES)).create_workspace({}, task_id="workspace")
    assert task.command(context=CONTEXT, jinja_env=None) == ["workspace", "create", "run 1", "--revision=HEAD"]
    assert task.working_dir == "/srv/wsol/checkout"
