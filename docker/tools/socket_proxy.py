"""The part of the Docker API that Airflow's DockerOperator needs, and of that only what cannot become root on the host.

Airflow may make containers as `container_rules.py` allows them, and then see, stop and remove those; it sees no other
container. Whoever holds the plain socket is root on the host. HTTP is read and written by h11 on either side: a request
is read whole, checked, and written anew, one per connection, so that client and engine cannot take it for two things.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import h11
from container_rules import Refused, Rules, checked_container, demand

ENGINE = os.environ.get("PROXY_ENGINE", "/var/run/docker.sock")
LISTEN = os.environ.get("PROXY_LISTEN", "/run/wsol/docker/docker.sock")
LARGEST_HEAD = 1 << 14
LARGEST_BODY = 1 << 20
#: Bytes of the engine's description of a container.
LARGEST_DESCRIPTION = 1 << 22
#: Seconds for a request to come, for a client to take a part of the answer, and for the engine to take a connection or
#: to describe a container.
PATIENCE = 30.0
#: Seconds for the engine to do what is asked; what it says of a container that works may take days.
ENGINE_PATIENCE = 300.0
#: Clients at once; a task has three.
MOST_CLIENTS = 256
PART = 1 << 16

READING = re.compile(r"GET (/v[\d.]+)?/(_ping|version|images/json)|HEAD (/v[\d.]+)?/_ping", re.ASCII)
CREATING = re.compile(r"POST (/v[\d.]+)?/containers/create", re.ASCII)
USING = re.compile(
    r"(GET|POST|DELETE) (?P<base>(/v[\d.]+)?/containers/(?P<id>\w[\w.-]*))(?P<action>/(attach|json|start|stop|wait))?",
    re.ASCII,
)
#: Methods that go with what is done to a container; the last is its removal.
ACTIONS = {"/attach": "POST", "/json": "GET", "/start": "POST", "/stop": "POST", "/wait": "POST", None: "DELETE"}
#: What lasts as long as a container does.
LASTING = ("/attach", "/wait")
#: Of an answer: who frames it anew writes these himself.
FRAMING = (b"connection", b"keep-alive", b"transfer-encoding", b"upgrade")


class Request(NamedTuple):
    """A request; the engine gets one written anew from these."""

    method: str
    target: str
    upgrade: bool
    body: bytes

    @property
    def line(self) -> str:
        """Method and path, without the query."""
        return f"{self.method} {self.target.partition('?')[0]}"


class Peer:
    """A connection, and what HTTP makes of it.

    Attributes:
        http: h11's state of it.
    """

    def __init__(self, role: type[h11.CLIENT] | type[h11.SERVER], streams: "Streams") -> None:
        self.http = h11.Connection(role, max_incomplete_event_size=LARGEST_HEAD)
        self.reader, self.writer = streams

    async def receive(self) -> Any:
        """The next event.

        Raises:
            h11.RemoteProtocolError: what came is no HTTP, or ended too early.
        """
        while (event := self.http.next_event()) is h11.NEED_DATA:
            # No more at once: a head that has come whole is not measured.
            self.http.receive_data(await self.reader.read(LARGEST_HEAD))
        return event

    async def send(self, *events: h11.Event) -> None:
        """Send events; who does not take them in time is given up."""
        for event in events:
            self.writer.write(self.http.send(event) or b"")
        await self.flush()

    async def flush(self) -> None:
        """Wait until what was written is on its way."""
        async with asyncio.timeout(PATIENCE):
            await self.writer.drain()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


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
        demand(status == 200, f"the engine describes {container} by status {status}")
        return rules.describe_a_task(json.loads(body))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"the engine's description of {container} cannot be read: {error!r}") from None


async def described(container: str) -> tuple[int, bytes]:
    """Status and body of the engine's description of a container."""
    async with asyncio.timeout(PATIENCE), engine() as peer:
        try:
            await peer.send(*written(Request("GET", f"{container}/json", False, b"")))
            response = await peer.receive()
            demand(isinstance(response, h11.Response), "the engine's answer is none")
            answer = b""
            while isinstance(part := await peer.receive(), h11.Data):
                answer += part.data
                demand(len(answer) <= LARGEST_DESCRIPTION, f"the engine's description of {container} is too large")
        except h11.RemoteProtocolError as error:
            raise Refused(f"the engine's answer cannot be read: {error}") from None
    return int(response.status_code), answer


@asynccontextmanager
async def engine() -> AsyncIterator[Peer]:
    """A connection to the engine."""
    async with asyncio.timeout(PATIENCE):
        streams = await asyncio.open_unix_connection(ENGINE)
    try:
        yield Peer(h11.CLIENT, streams)
    finally:
        streams[1].close()


async def read_request(client: Peer) -> Request:
    """The first request of a connection, whole.

    Raises:
        Refused: it is too large.
        h11.RemoteProtocolError: it is none.
    """
    head = await client.receive()
    if not isinstance(head, h11.Request):
        raise ConnectionError("the client hung up")
    demand(head.http_version in (b"1.0", b"1.1"), "HTTP/1 is spoken here")
    headers = dict(head.headers)
    demand(b"transfer-encoding" not in headers, "a body must come with its length")
    demand(int(headers.get(b"content-length", b"0")) <= LARGEST_BODY, "the body is too large")
    body = b""
    while isinstance(part := await client.receive(), h11.Data):
        body += part.data
    upgrade = headers.get(b"upgrade", b"").lower() == b"tcp"
    return Request(head.method.decode("ascii"), head.target.decode("ascii"), upgrade, body)


def written(request: Request) -> tuple[h11.Event, ...]:
    """The request as the engine gets it."""
    headers = [("Host", "docker"), ("Content-Type", "application/json"), ("Content-Length", str(len(request.body)))]
    switch = [("Connection", "Upgrade"), ("Upgrade", "tcp")] if request.upgrade else [("Connection", "close")]
    head = h11.Request(method=request.method, target=request.target, headers=headers + switch)
    return head, *([h11.Data(request.body)] if request.body else []), h11.EndOfMessage()


async def serve(client: Peer, rules: Rules) -> None:
    """Answer one connection, and close it whatever happens."""
    try:
        async with asyncio.timeout(PATIENCE):
            request = await read_request(client)
        await pass_on(await checked_request(request, rules), client)
    except (Refused, ValueError) as refusal:
        await refuse(client, 403, refusal)
    except h11.RemoteProtocolError as error:
        await refuse(client, 400, error)
    except ConnectionError:
        pass
    except OSError as error:
        # The engine is away, or somebody is too slow.
        await refuse(client, 503, error)
    finally:
        client.writer.close()


async def refuse(client: Peer, status: int, reason: Exception) -> None:
    """Say why a request is not let through, unless an answer has begun."""
    print(f"refused: {reason!r}")
    body = json.dumps({"message": f"socket proxy: {reason or type(reason).__name__}"}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
    if client.http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
        with suppress(OSError, h11.LocalProtocolError):
            await client.send(h11.Response(status_code=status, headers=headers), h11.Data(body), h11.EndOfMessage())


async def pass_on(request: Request, client: Peer) -> None:
    """Send a request to the engine and its answer back, until the engine or the client ends it."""
    patience = None if request.line.endswith(LASTING) else ENGINE_PATIENCE
    async with engine() as peer:
        await peer.send(*written(request))
        answer = asyncio.create_task(answered(peer, client))
        hung_up = asyncio.create_task(drop(client.reader))
        tasks = {answer, hung_up}
        done, _ = await asyncio.wait(tasks, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not done:
            raise TimeoutError("the engine does not answer")
        if answer in done:
            answer.result()


async def answered(peer: Peer, client: Peer) -> None:
    """Pass the engine's answer on as it comes; after a switch of protocols it is bytes."""
    while not isinstance(event := await peer.receive(), h11.EndOfMessage):
        if isinstance(event, h11.InformationalResponse):
            if event.status_code != 101:
                continue
            await client.send(event)
            client.writer.write(peer.http.trailing_data[0])
            while part := await peer.reader.read(PART):
                client.writer.write(part)
                await client.flush()
            return
        if isinstance(event, h11.Response):
            kept = [(name, value) for name, value in event.headers if name not in FRAMING]
            headers = [*kept, (b"Connection", b"close")]
            event = h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
        elif not isinstance(event, h11.Data):
            raise ConnectionError("the engine hung up")
        await client.send(event)
    await client.send(h11.EndOfMessage())


async def drop(reader: asyncio.StreamReader) -> None:
    """Wait for the client to hang up; what it sends after its request is lost, tasks have no input."""
    while await reader.read(PART):
        pass


async def main() -> None:
    """Listen until stopped."""
    rules = Rules.from_environment()
    clients = 0

    async def welcome(*streams: Any) -> None:
        nonlocal clients
        clients += 1
        client = Peer(h11.SERVER, streams)  # type: ignore[arg-type]
        try:
            if clients > MOST_CLIENTS:
                await refuse(client, 503, Refused("too many clients at once"))
                client.writer.close()
            else:
                await serve(client, rules)
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
