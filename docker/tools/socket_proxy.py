"""The part of the Docker API that Airflow's DockerOperator needs, and of that only what cannot become root on the host.

Airflow may make containers of one image, without privileges, from named volumes, on named networks, and then see, stop
and remove those; it sees no other container. Whoever holds the plain socket is root on the host. Settings are
environment variables: ``PROXY_IMAGE``, and ``PROXY_VOLUMES`` and ``PROXY_NETWORKS`` with names between commas; a volume
with ``:ro`` may only be read.
"""

import asyncio
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

ENGINE = os.environ.get("PROXY_ENGINE", "/var/run/docker.sock")
LISTEN = os.environ.get("PROXY_LISTEN", "/run/wsol/docker/docker.sock")
LABEL = "wsol.task"
LARGEST_BODY = 1 << 20
#: Bytes of the engine's description of a container.
LARGEST_DESCRIPTION = 1 << 22
#: Seconds for a request to come, and for the engine to take a connection or to describe a container; what it then says
#: of a container that works may take days.
PATIENCE = 30.0
#: Clients at once; a task has three.
MOST_CLIENTS = 256

#: A request line and a header without anything that one reader would take for an end of line and another would not.
LINE = re.compile(r"(GET|HEAD|POST|DELETE) (/[!-~]*) HTTP/1\.[01]")
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
HEADER = re.compile(r"([\w-]+):[ \t]*([ -~\t]*)", re.ASCII)
READING = re.compile(r"GET (/v[\d.]+)?/(_ping|version|images/json)|HEAD (/v[\d.]+)?/_ping", re.ASCII)
CREATING = re.compile(r"POST (/v[\d.]+)?/containers/create", re.ASCII)
USING = re.compile(
    r"(GET|POST|DELETE) (?P<base>(/v[\d.]+)?/containers/(?P<id>\w[\w.-]*))(?P<action>/(attach|json|start|stop|wait))?",
    re.ASCII,
)
#: Methods that go with what is done to a container; the last is its removal.
ACTIONS = {"/attach": "POST", "/json": "GET", "/start": "POST", "/stop": "POST", "/wait": "POST", None: "DELETE"}
#: What may be said of a container, its host part, a mount and a device; the engine hears of nothing else.
KEYS = {"AttachStderr", "AttachStdin", "AttachStdout", "Cmd", "Entrypoint", "Env", "HostConfig", "Image", "Labels",
        "OpenStdin", "StdinOnce", "Tty", "WorkingDir"}  # fmt: skip
HOST_KEYS = {"CapDrop", "CpuShares", "DeviceRequests", "Memory", "Mounts", "NetworkMode", "ReadonlyRootfs",
             "SecurityOpt", "ShmSize", "Tmpfs"}  # fmt: skip
MOUNT_KEYS = {"Type", "Source", "Target", "ReadOnly"}
DEVICE_KEYS = {"Count", "DeviceIDs", "Capabilities"}


class Refused(Exception):
    """A request that is not let through; its text is the answer."""


class Rules(NamedTuple):
    """What a container may be made of; ``read_only`` are those of the volumes that it may not write to."""

    image: str
    volumes: frozenset[str]
    read_only: frozenset[str]
    networks: frozenset[str]

    @classmethod
    def from_environment(cls) -> "Rules":
        """Read them."""
        volumes = [name.partition(":") for name in os.environ["PROXY_VOLUMES"].split(",")]
        return cls(
            image=os.environ["PROXY_IMAGE"],
            volumes=frozenset(name for name, _, _ in volumes),
            read_only=frozenset(name for name, _, mode in volumes if mode == "ro"),
            networks=frozenset(os.environ["PROXY_NETWORKS"].split(",")),
        )


class Request(NamedTuple):
    """A request of HTTP/1.1; the engine gets one written anew from these."""

    method: str
    target: str
    upgrade: bool
    body: bytes

    @property
    def line(self) -> str:
        """Method and path, without the query."""
        return f"{self.method} {self.target.partition('?')[0]}"


def checked_container(body: bytes, rules: Rules) -> bytes:
    """The description of a container, written anew from what was checked.

    The engine's reader takes keys of any case, and of repeated keys all; ours takes the last. What is passed on must
    therefore be what was checked, not what came.

    Raises:
        Refused: a container of this description may not be harmless, or it cannot be read.
    """
    try:
        wanted = _said(json.loads(body), KEYS)
        wanted["HostConfig"] = _checked_host(wanted.get("HostConfig", {}), rules)
        _demand(wanted.get("Image") == rules.image, f"the image must be {rules.image}")
        _demand(LABEL in wanted.get("Labels", {}), f"the label {LABEL} must be set")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"the description of the container cannot be read: {error!r}") from None
    return json.dumps(wanted).encode()


def _checked_host(found: dict[str, Any], rules: Rules) -> dict[str, Any]:
    # Clients send an empty one where none is wanted.
    _demand(not any((found.pop("LogConfig", None) or {}).values()), "HostConfig.LogConfig may not be set")
    host = _said(found, HOST_KEYS, "HostConfig.")
    _demand(host.get("NetworkMode") in rules.networks, f"the network must be one of {sorted(rules.networks)}")
    _demand(host.get("ReadonlyRootfs") is True, "the root file system must be read only")
    _demand(host.get("CapDrop") == ["ALL"], "all capabilities must be dropped")
    _demand(host.get("SecurityOpt") == ["no-new-privileges"], "SecurityOpt must be no-new-privileges")
    _demand(host.get("Tmpfs", {}).keys() <= {"/tmp"}, "the only tmpfs is /tmp")
    host["Mounts"] = [_checked_mount(mount, rules) for mount in host.get("Mounts", [])]
    host["DeviceRequests"] = [_checked_device(device) for device in host.get("DeviceRequests", [])]
    return host


def _checked_mount(found: dict[str, Any], rules: Rules) -> dict[str, Any]:
    mount = _said(found, MOUNT_KEYS, "a mount's ")
    plain = mount.get("Type") == "volume" and mount.get("Source") in rules.volumes
    _demand(plain, f"mounts are volumes of {sorted(rules.volumes)}")
    _demand(mount["Source"] not in rules.read_only or mount.get("ReadOnly") is True, f"{mount['Source']} is read only")
    return mount


def _checked_device(found: dict[str, Any]) -> dict[str, Any]:
    device = _said(found, DEVICE_KEYS, "a device's ")
    _demand(device.get("Capabilities") == [["gpu"]], "devices are GPUs")
    return device


def _said(found: dict[str, Any], allowed: set[str], where: str = "") -> dict[str, Any]:
    """What is set of an object: clients write null, false, 0 or an empty list for what is not."""
    said = {key: value for key, value in found.items() if value}
    _demand(said.keys() <= allowed, f"{where}{', '.join(sorted(said.keys() - allowed))} may not be set")
    return said


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise Refused(message)


async def checked_request(request: Request, rules: Rules) -> Request:
    """The request that the engine gets.

    Only a new container has a body: an old version of the API would take the host part of one at its start, too.

    Raises:
        Refused: it is not one that Airflow needs.
    """
    if CREATING.fullmatch(request.line):
        return request._replace(upgrade=False, body=checked_container(request.body, rules))
    if not READING.fullmatch(request.line):
        used = USING.fullmatch(request.line)
        if not used or ACTIONS[used["action"]] != request.method:
            raise Refused(f"{request.line} is not let through")
        if not await is_ours(used["base"], rules):
            raise Refused(f"{used['id']} is not a container of Airflow's tasks")
    return request._replace(upgrade=request.upgrade and request.line.endswith("/attach"), body=b"")


async def is_ours(container: str, rules: Rules) -> bool:
    """Whether the container of that path is a task of this stack, or there is none.

    The engine's own answer to a container that is not there is what Airflow understands.

    Raises:
        Refused: the engine's answer is anything but a description or 404.
    """
    status, body = await described(container)
    if status == 404:
        return True
    try:
        _demand(status == 200, f"the engine describes {container} by status {status}")
        found = json.loads(body)
        return LABEL in (found["Config"]["Labels"] or {}) and found["HostConfig"]["NetworkMode"] in rules.networks
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"the engine's description of {container} cannot be read: {error!r}") from None


async def described(container: str) -> tuple[int, bytes]:
    """Status and body of the engine's description of a container."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_unix_connection(ENGINE)
        try:
            writer.write(f"GET {container}/json HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            await writer.drain()
            answer = b""
            while chunk := await reader.read(1 << 16):
                answer += chunk
                _demand(len(answer) <= LARGEST_DESCRIPTION, f"the engine's description of {container} is too large")
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status = STATUS.match(head)
    _demand(status is not None, "the engine's answer cannot be read")
    return int(status[1]) if status else 0, body


async def read_request(reader: asyncio.StreamReader) -> Request:
    """The first request of a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")[:-2]
    line, fields = LINE.fullmatch(first), [HEADER.fullmatch(text) for text in lines]
    if not line or not all(fields):
        raise Refused("the request cannot be read")
    headers = [(field[1].lower(), field[2].strip()) for field in fields if field]
    if any(name == "transfer-encoding" for name, _ in headers):
        raise Refused("a body must come with its length")
    lengths = [int(value) for name, value in headers if name == "content-length"]
    if len(lengths) > 1 or sum(lengths) > LARGEST_BODY:
        raise Refused("the body is too large")
    body = await reader.readexactly(sum(lengths))
    return Request(line[1], line[2], ("upgrade", "tcp") in headers, body)


def written(request: Request) -> bytes:
    """The request as the engine gets it: one per connection, so that none goes past the checks."""
    connection = "Connection: Upgrade\r\nUpgrade: tcp" if request.upgrade else "Connection: close"
    body = f"Content-Type: application/json\r\nContent-Length: {len(request.body)}\r\n"
    head = f"{request.method} {request.target} HTTP/1.1\r\nHost: docker\r\n{body}{connection}\r\n\r\n"
    return head.encode("ascii") + request.body


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rules: Rules) -> None:
    """Answer one connection, and close it whatever happens."""
    try:
        async with asyncio.timeout(PATIENCE):
            request = await read_request(reader)
        request = await checked_request(request, rules)
        await pass_on(request, reader, writer)
    except (Refused, ValueError, asyncio.LimitOverrunError) as refusal:
        await refuse(writer, "403 Forbidden", refusal)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    except OSError as error:
        # The engine is away, or somebody is too slow.
        await refuse(writer, "503 Service Unavailable", error)
    finally:
        writer.close()


async def refuse(writer: asyncio.StreamWriter, status: str, reason: Exception) -> None:
    """Say why a request is not let through."""
    print(f"refused: {reason!r}")
    answer = json.dumps({"message": f"socket proxy: {reason or type(reason).__name__}"}).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n"
    with suppress(ConnectionError):
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + answer)
        await writer.drain()


async def pass_on(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a request to the engine and its answer back, until the engine or the client ends it."""
    async with asyncio.timeout(PATIENCE):
        engine_reader, engine_writer = await asyncio.open_unix_connection(ENGINE)
    engine_writer.write(written(request))
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
    rules = Rules.from_environment()
    clients = 0

    async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal clients
        clients += 1
        try:
            if clients > MOST_CLIENTS:
                await refuse(writer, "503 Service Unavailable", Refused("too many clients at once"))
                writer.close()
            else:
                await serve(reader, writer, rules)
        finally:
            clients -= 1

    Path(LISTEN).unlink(missing_ok=True)
    os.umask(0o007)
    server = await asyncio.start_unix_server(welcome, LISTEN)
    print(f"listening on {LISTEN}; image {rules.image}")
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
