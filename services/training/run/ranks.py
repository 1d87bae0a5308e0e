"""Several processes of one launch: who speaks for all, and how they agree."""

import os

import torch
from torch import distributed

from services.training.exits import ExitCode, TrainingStop


def world() -> tuple[int, int]:
    """(this process's rank, number of processes); (0, 1) for a run of one."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process writes metrics, marks checkpoints and leaves the artefact."""
    return world()[0] == 0


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process: steps are taken together, so all must stop or save at the same one."""
    if not distributed.is_initialized():
        return flag
    told = torch.tensor(int(flag), device=_device())
    distributed.all_reduce(told, op=distributed.ReduceOp.MAX)
    return bool(told.item())


def total(number: int) -> int:
    """The sum over all processes."""
    if not distributed.is_initialized():
        return number
    summed = torch.tensor(number, device=_device())
    distributed.all_reduce(summed)
    return int(summed.item())


def check_together() -> None:
    """Processes that did not find each other would each train a model of its own. Raises `TrainingStop`."""
    if world()[1] > 1 and not distributed.is_initialized():
        raise TrainingStop(ExitCode.SETTINGS, "The processes of the launch did not find each other: see train.log.")


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def wait_for_all() -> None:
    """Returns when every process is here."""
    if distributed.is_initialized():
        distributed.barrier()


def gather_parts(part: dict[int, list[float]]) -> dict[int, list[float]]:
    """The parts of all processes in one."""
    if not distributed.is_initialized():
        return part
    parts: list[dict[int, list[float]] | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, part)
    return {key: value for one in parts if one for key, value in one.items()}
