"""The part of the Docker API that Airflow's DockerOperator needs, and of that only what cannot become root on the host.

Airflow may make containers of one image, without privileges, from named volumes, on named networks, and then see, stop
and remove those; it sees no other container. Whoever holds the plain socket is root on the host. Settings are
environment variables: ``PROXY_IMAGE``, and ``PROXY_VOLUMES`` and ``PROXY_NETWORKS`` with names between commas.
"""

import asyncio
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

ENGINE = os.environ.get("PROXY_ENGINE", "/var/run/docker.sock")
LISTEN = os.environ.get("PROXY_LISTEN", "/run/wsol/docker/docker.sock")
LABEL = "wsol.task"
LARGEST_BODY = 1 << 20

READING = re.compile(r"GET (/v[\d.]+)?/(_ping|version|images/json)$|HEAD (/v[\d.]+)?/_ping$")
CREATING = re.compile(r"POST (/v[\d.]+)?/containers/create$")
USING = re.compile(
    r"(GET|POST|DELETE) (?P<base>(/v[\d.]+)?/containers/(?P<id>\w[\w.-]*))(?P<action>/(attach|json|start|stop|wait))?$"
)
#: Methods that go with what is done to a container; the last is its removal.
ACTIONS = {"/attach": "POST", "/json": "GET", "/start": "POST", "/stop": "POST", "/wait": "POST", None: "DELETE"}
#: Of the host part of a container; every other one must be empty or zero.
HOST_KEYS = {"CapDrop", "CpuShares", "DeviceRequests", "LogConfig", "Memory", "Mounts", "NetworkMode", "ReadonlyRootfs",
             "SecurityOpt", "ShmSize", "Tmpfs"}  # fmt: skip
KEYS = {"AttachStderr", "AttachStdin", "AttachStdout", "Cmd", "Entrypoint", "Env", "HostConfig", "Image", "Labels",
        "OpenStdin", "StdinOnce", "Tty", "WorkingDir", "NetworkDisabled", "NetworkingConfig"}  # fmt: skip


class Refused(Exception):
    """A request that is not let through; its text is the answer."""


class Rules(NamedTuple):
    """What a container may be made of."""

    image: str
    volumes: frozenset[str]
    networks: frozenset[str]


class Request(NamedTuple):
    """A request of HTTP/1.1: its line, its headers as they came, and its body."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def line(self) -> str:
        """Method and path, without the query."""
        return f"{self.method} {self.target.partition('?')[0]}"


def check_container(body: bytes, rules: Rules) -> None:
    """Raise Refused unless a container of this description is harmless."""
    try:
        wanted = json.loads(body)
        host = wanted.pop("HostConfig", None) or {}
        _check(wanted, host, rules)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise Refused(f"the description of the container cannot be read: {error!r}") from None


def _check(wanted: Mapping[str, Any], host: Mapping[str, Any], rules: Rules) -> None:
    others = [key for key, value in wanted.items() if value and key not in KEYS]
    others += [f"HostConfig.{key}" for key, value in host.items() if value and key not in HOST_KEYS]
    _demand(not others, f"{', '.join(others)} may not be set")
    _demand(wanted["Image"] == rules.image, f"the image must be {rules.image}")
    _demand(LABEL in (wanted.get("Labels") or {}), f"the label {LABEL} must be set")
    _demand(host.get("NetworkMode") in rules.networks, f"the network must be one of {sorted(rules.networks)}")
    _demand(host.get("ReadonlyRootfs") is True, "the root file system must be read only")
    _demand("ALL" in (host.get("CapDrop") or []), "all capabilities must be dropped")
    options = [option for option in host.get("SecurityOpt") or [] if not option.startswith("no-new-privileges")]
    _demand(bool(host.get("SecurityOpt")) and not options, "SecurityOpt must be no-new-privileges")
    _demand(set(host.get("Tmpfs") or {}) <= {"/tmp"}, "the only tmpfs is /tmp")
    endpoints = (wanted.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    _demand(set(endpoints) <= rules.networks, f"the network must be one of {sorted(rules.networks)}")
    for mount in host.get("Mounts") or []:
        plain = mount.get("Type") == "volume" and not mount.get("VolumeOptions") and not mount.get("BindOptions")
        _demand(plain and mount.get("Source") in rules.volumes, f"mounts are volumes of {sorted(rules.volumes)}")


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise Refused(message)


async def check_request(request: Request, rules: Rules) -> None:
    """Raise Refused unless the request is one that Airflow needs."""
    if READING.match(request.line):
        return
    if CREATING.match(request.line):
        check_container(request.body, rules)
        return
    used = USING.match(request.line)
    if not used or ACTIONS[used["action"]] != request.method:
        raise Refused(f"{request.line} is not let through")
    known, labels = await labels_of(used["base"])
    # The engine's own answer to a container that is not there is what Airflow understands.
    if known and LABEL not in labels:
        raise Refused(f"{used['id']} is not a container of Airflow's tasks")


async def labels_of(container: str) -> tuple[bool, Mapping[str, str]]:
    """Whether there is a container of that path, and its labels."""
    reader, writer = await asyncio.open_unix_connection(ENGINE)
    writer.write(f"GET {container}/json HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
    await writer.drain()
    head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    writer.close()
    if b" 200 " not in head.split(b"\r\n")[0] + b" ":
        return False, {}
    return True, json.loads(body)["Config"]["Labels"] or {}


async def read_request(reader: asyncio.StreamReader) -> Request:
    """The first request of a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    if any(name == "transfer-encoding" for name, _ in headers):
        raise Refused("a body must come with its length")
    lengths = [int(value) for name, value in headers if name == "content-length"]
    if len(lengths) > 1 or sum(lengths) > LARGEST_BODY:
        raise Refused("the body is too large")
    return Request(method, target, headers, await reader.readexactly(sum(lengths)))


def forwarded(request: Request) -> bytes:
    """The request for the engine: one per connection, so that none goes past the checks."""
    upgrade = any(name == "upgrade" for name, _ in request.headers)
    kept = [(name, value) for name, value in request.headers if upgrade or name != "connection"]
    headers = kept if upgrade else [*kept, ("connection", "close")]
    lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1") + request.body


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rules: Rules) -> None:
    """Answer one connection."""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        try:
            request = await read_request(reader)
            await check_request(request, rules)
        except (Refused, ValueError) as refusal:
            print(f"refused: {refusal}")
            answer = json.dumps({"message": f"socket proxy: {refusal}"}).encode()
            head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n"
            writer.write(head.encode() + b"Connection: close\r\n\r\n" + answer)
            await writer.drain()
        else:
            await pass_on(request, reader, writer)
    writer.close()


async def pass_on(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a request to the engine and its answer back, until the engine or the client ends it."""
    engine_reader, engine_writer = await asyncio.open_unix_connection(ENGINE)
    engine_writer.write(forwarded(request))
    answer = asyncio.create_task(copy(engine_reader, writer))
    hung_up = asyncio.create_task(drop(reader))
    await asyncio.wait({answer, hung_up}, return_when=asyncio.FIRST_COMPLETED)
    for task in (answer, hung_up):
        task.cancel()
    engine_writer.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on as they come."""
    while chunk := await reader.read(1 << 16):
        writer.write(chunk)
        await writer.drain()


async def drop(reader: asyncio.StreamReader) -> None:
    """Wait for the client to hang up; what it sends after its request is lost, tasks have no input."""
    while await reader.read(1 << 16):
        pass


async def main() -> None:
    """Listen until stopped."""
    names = {key: frozenset(filter(None, os.environ[key].split(","))) for key in ("PROXY_VOLUMES", "PROXY_NETWORKS")}
    rules = Rules(os.environ["PROXY_IMAGE"], names["PROXY_VOLUMES"], names["PROXY_NETWORKS"])
    Path(LISTEN).unlink(missing_ok=True)
    os.umask(0o007)
    server = await asyncio.start_unix_server(lambda reader, writer: serve(reader, writer, rules), LISTEN)
    print(f"listening on {LISTEN}; image {rules.image}")
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
