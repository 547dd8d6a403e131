"""Several processes that train one network, one per GPU, started by ``torchrun``."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from pipeline import console
from pipeline.errors import UserError
from pipeline.models.localizer import device
from pipeline.params import TrainParams

#: What ``torchrun`` tells each process, all of it needed for their connection.
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def rank() -> int:
    """Number of this process; the first, 0, writes and speaks for all."""
    return _number("RANK", 0)


def world_size() -> int:
    """How many processes train together."""
    return _number("WORLD_SIZE", 1)


def check_environment() -> None:
    """Whether this process was started by ``torchrun`` or by nobody, and not half so.

    Raises:
        UserError: a variable is set that ``torchrun`` sets, but not all of them are, or not to what it sets.
    """
    if not any(name in os.environ for name in TORCHRUN[:3]):
        return
    given = [name for name in TORCHRUN if name in os.environ]
    if missing := [name for name in TORCHRUN if not os.environ.get(name)]:
        raise UserError(
            f"{', '.join(given)} in the environment, but not {', '.join(missing)}: torchrun sets all of them. "
            f"Unset {' '.join(given)} to train in one process."
        )
    if not 0 <= rank() < world_size() or not 0 <= _number("LOCAL_RANK", 0) < world_size():
        raise UserError(
            f"RANK {rank()} and LOCAL_RANK {_number('LOCAL_RANK', 0)} must lie in 0 … WORLD_SIZE - 1, and WORLD_SIZE "
            f"is {world_size()}. Unset {' '.join(TORCHRUN)} to train in one process."
        )
    if not 1 <= _number("MASTER_PORT", 0) <= 65_535:
        raise UserError(f"MASTER_PORT {os.environ['MASTER_PORT']} in the environment is not a port (1 … 65535).")


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UserError(f"{name} in the environment must be a whole number as torchrun sets it, found {text[:80]!r}.")
    return int(text)


def start_per_gpu() -> None:
    """Where several GPUs are visible, start this command again as one process for each; does not return then."""
    if torch.cuda.device_count() > 1 and "WORLD_SIZE" not in os.environ:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=gpu", *_again()]
        os.execv(sys.executable, command)


def _again() -> list[str]:
    return ["-m", "pipeline", *sys.argv[1:]]


@contextmanager
def process_group() -> Iterator[None]:
    """The connection between the processes, for as long as they train."""
    if world_size() == 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    yield
    # Not after an error: the others would fail at the lost connection and might report that before the cause is.
    dist.destroy_process_group()


def from_first(value: Any) -> Any:
    """What the first process has, in all of them."""
    values = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values, src=0, device=device())
    return values[0]


def check_shares(images: int, batch: int, settings: TrainParams) -> None:
    """Whether processes and forward passes can share the images of a step; the user is told when some are left out.

    Args:
        images: of the whole training set.
        batch: images of a step that are shared, a multiple of the number of processes.

    Raises:
        UserError: a process would have none, or fewer than its forward passes.
    """
    processes, passes = world_size(), settings.accumulate
    if images < processes:
        raise UserError(f"{images} training images cannot be shared by {processes} processes.")
    if batch // processes < passes:
        raise UserError(
            f"train.accumulate: the {batch // processes} images of a step that each of {processes} processes takes "
            f"cannot be split into {passes} forward passes; lower it, or raise train.batch_size."
        )
    if settings.batch_size % processes:
        console.warn(
            f"train.batch_size {settings.batch_size} is not a multiple of the {processes} processes: "
            f"a step takes {batch}"
        )


def share_buffers(network: nn.Module) -> None:
    """Give all processes the first one's buffers: each keeps batch statistics of its own part."""
    if world_size() > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, src=0)


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of a tensor of equal shape over all processes, the same in each; in place."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values
