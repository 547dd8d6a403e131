"""What a container of a task may be: nothing that could become root on the host, or take all of it."""

import json
import os
from typing import Any, NamedTuple

LABEL = "wsol.task"
#: The network of a task that is to reach nobody.
NO_NETWORK = "none"
#: What may be said of a container, its host part, a mount and a device; the engine hears of nothing else.
KEYS = {"AttachStderr", "AttachStdin", "AttachStdout", "Cmd", "Entrypoint", "Env", "HostConfig", "Image", "Labels",
        "OpenStdin", "StdinOnce", "Tty", "WorkingDir"}  # fmt: skip
HOST_KEYS = {"CapDrop", "CpuShares", "DeviceRequests", "Memory", "MemorySwap", "Mounts", "NetworkMode", "PidsLimit",
             "ReadonlyRootfs", "SecurityOpt", "ShmSize", "Tmpfs"}  # fmt: skip
MOUNT_KEYS = {"Type", "Source", "Target", "ReadOnly"}
DEVICE_KEYS = {"Count", "DeviceIDs", "Capabilities"}


class Refused(Exception):
    """What is not let through; its text is the answer."""


class Rules(NamedTuple):
    """What a container may be made of.

    Attributes:
        image: the only one.
        volumes: it may have, of which ``read_only`` are those that it may not write to.
        networks: it may be on, besides none.
        memory: most bytes.
        pids: most processes and threads.
    """

    image: str
    volumes: frozenset[str]
    read_only: frozenset[str]
    networks: frozenset[str]
    memory: int
    pids: int

    @classmethod
    def from_environment(cls) -> "Rules":
        """Read them from ``PROXY_IMAGE``, ``PROXY_VOLUMES``, ``PROXY_NETWORKS``, ``PROXY_MEMORY_MIB``, ``PROXY_PIDS``.

        Names stand between commas; a volume with ``:ro`` may only be read.
        """
        volumes = [name.partition(":") for name in os.environ["PROXY_VOLUMES"].split(",")]
        return cls(
            image=os.environ["PROXY_IMAGE"],
            volumes=frozenset(name for name, _, _ in volumes),
            read_only=frozenset(name for name, _, mode in volumes if mode == "ro"),
            networks=frozenset(os.environ["PROXY_NETWORKS"].split(",")),
            memory=int(os.environ["PROXY_MEMORY_MIB"]) * 2**20,
            pids=int(os.environ["PROXY_PIDS"]),
        )

    def describe_a_task(self, container: dict[str, Any]) -> bool:
        """Whether the engine's description of a container is that of a task of this stack: nobody else has its volumes.

        Raises:
            KeyError, TypeError, AttributeError: it is no description.
        """
        host = container["HostConfig"]
        sources = {mount["Source"] for mount in host.get("Mounts") or []}
        return (
            LABEL in (container["Config"]["Labels"] or {})
            and host["NetworkMode"] in self.networks | {NO_NETWORK}
            and bool(sources)
            and sources <= self.volumes
        )


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
        demand(wanted.get("Image") == rules.image, f"the image must be {rules.image}")
        demand(LABEL in wanted.get("Labels", {}), f"the label {LABEL} must be set")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"the description of the container cannot be read: {error!r}") from None
    return json.dumps(wanted).encode()


def _checked_host(found: dict[str, Any], rules: Rules) -> dict[str, Any]:
    # Clients send an empty one where none is wanted.
    demand(not any((found.pop("LogConfig", None) or {}).values()), "HostConfig.LogConfig may not be set")
    host = _said(found, HOST_KEYS, "HostConfig.")
    networks = sorted(rules.networks | {NO_NETWORK})
    demand(host.get("NetworkMode") in networks, f"the network must be one of {networks}")
    demand(host.get("ReadonlyRootfs") is True, "the root file system must be read only")
    demand(host.get("CapDrop") == ["ALL"], "all capabilities must be dropped")
    demand(host.get("SecurityOpt") == ["no-new-privileges"], "SecurityOpt must be no-new-privileges")
    demand(host.get("Tmpfs", {}).keys() <= {"/tmp"}, "the only tmpfs is /tmp")
    # The engine takes -1 for no limit.
    demand(0 < host.get("Memory", 0) <= rules.memory, f"Memory must be at most {rules.memory} bytes")
    demand(host.get("MemorySwap") == host["Memory"], "MemorySwap must be Memory: no swap besides")
    demand(0 < host.get("PidsLimit", 0) <= rules.pids, f"PidsLimit must be at most {rules.pids}")
    host["Mounts"] = [_checked_mount(mount, rules) for mount in host.get("Mounts", [])]
    demand(bool(host["Mounts"]), "a task has a volume of its stack")
    host["DeviceRequests"] = [_checked_device(device) for device in host.get("DeviceRequests", [])]
    return host


def _checked_mount(found: dict[str, Any], rules: Rules) -> dict[str, Any]:
    mount = _said(found, MOUNT_KEYS, "a mount's ")
    plain = mount.get("Type") == "volume" and mount.get("Source") in rules.volumes
    demand(plain, f"mounts are volumes of {sorted(rules.volumes)}")
    demand(mount["Source"] not in rules.read_only or mount.get("ReadOnly") is True, f"{mount['Source']} is read only")
    return mount


def _checked_device(found: dict[str, Any]) -> dict[str, Any]:
    device = _said(found, DEVICE_KEYS, "a device's ")
    demand(device.get("Capabilities") == [["gpu"]], "devices are GPUs")
    return device


def _said(found: dict[str, Any], allowed: set[str], where: str = "") -> dict[str, Any]:
    """What is set of an object: clients write null, false, 0 or an empty list for what is not."""
    said = {key: value for key, value in found.items() if value}
    demand(said.keys() <= allowed, f"{where}{', '.join(sorted(said.keys() - allowed))} may not be set")
    return said


def demand(holds: bool, message: str) -> None:
    """Refuse unless something holds."""
    if not holds:
        raise Refused(message)
