"""What a run computes on: its precision, the processes of a launch, and the CPU threads that are free."""

import json
import math
import os
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import distributed

from services.training.checkpoints import newest_sealed
from services.training.config import TrainConfig
from services.training.exits import ExitCode, TrainingStop
from shared.processes.cpu import favours_bfloat16

PRECISION_FILE = "precision.json"  # in every checkpoint
LOAD_WINDOW_S = 4.0  # giving up a thread for another process's short burst would cost a step


def choose_precision(config: TrainConfig) -> bool:
    """Whether to train in bfloat16. A resumed run keeps what it began with, whatever machine it is on now."""
    found = newest_sealed(config.out_dir)
    recorded = found[0] / PRECISION_FILE if found else None
    if recorded is None or not recorded.exists():
        return use_bf16(config.bf16)
    return bool(json.loads(recorded.read_text())["bf16"])


def record_precision(checkpoint: Path, bf16: bool) -> None:
    (checkpoint / PRECISION_FILE).write_text(json.dumps({"bf16": bf16}) + "\n")


def use_bf16(choice: bool | None) -> bool:
    if choice is not None:
        return choice
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    # by the processor's features, not by a measurement, which came out either way on a busy machine
    # (docs/decisions/0018)
    return favours_bfloat16()


def rank_and_world_size() -> tuple[int, int]:
    """(0, 1) for a run of one process."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    return rank_and_world_size()[0] == 0


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process: all processes must stop or save at the same step."""
    if not distributed.is_initialized():
        return flag
    highest = torch.tensor(int(flag), device=_device())
    distributed.all_reduce(highest, op=distributed.ReduceOp.MAX)
    return bool(highest.item())


def sum_over_processes(number: int) -> int:
    if not distributed.is_initialized():
        return number
    summed = torch.tensor(number, device=_device())
    distributed.all_reduce(summed)
    return int(summed.item())


def check_processes_joined() -> None:
    """Raises `TrainingStop` if the processes did not find each other: each would train its own model."""
    if rank_and_world_size()[1] > 1 and not distributed.is_initialized():
        raise TrainingStop(ExitCode.SETTINGS, "The processes of the launch did not find each other: see train.log.")


def wait_for_all() -> None:
    if distributed.is_initialized():
        distributed.barrier()


def gather_dict(part: dict[int, list[float]]) -> dict[int, list[float]]:
    if not distributed.is_initialized():
        return part
    parts: list[dict[int, list[float]] | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, part)
    return {key: value for one in parts if one for key, value in one.items()}


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


class CpuUsage(NamedTuple):
    """Seconds since some start: `busy` on this process's cores by any process, `own` by this process alone."""

    wall: float
    busy: float
    own: float


class ThreadGauge:
    """Measures how many cores other processes left free in the last seconds, at least one.

    A thread on a core that another process keeps busy holds up all other threads.
    """

    def __init__(self) -> None:
        self._cores = sorted(os.sched_getaffinity(0))
        self.limit = min(len(self._cores), cpu_quota())
        self._readings = [read_usage(self._cores)]

    def threads(self) -> int:
        now = read_usage(self._cores)
        # keeps one reading at least `LOAD_WINDOW_S` old to compare with
        while len(self._readings) > 1 and now.wall - self._readings[1].wall >= LOAD_WINDOW_S:
            self._readings.pop(0)
        free = free_cores(len(self._cores), self._readings[0], now)
        self._readings.append(now)
        return max(1, min(self.limit, free))


def free_cores(cores: int, before: CpuUsage, after: CpuUsage) -> int:
    # two readings in the same clock tick would divide by zero
    wall = max(1e-6, after.wall - before.wall)
    others = (after.busy - before.busy - (after.own - before.own)) / wall
    return cores - round(max(0.0, others))


def read_usage(cores: list[int]) -> CpuUsage:
    own = time.process_time()
    stat = Path("/proc/stat")
    if not stat.exists():
        # other processes then seem idle
        return CpuUsage(time.monotonic(), own, own)
    names = {f"cpu{core}" for core in cores}
    busy = 0
    for line in stat.read_text().splitlines():
        name, *fields = line.split()
        if name in names:
            # user nice system idle iowait irq softirq steal, in clock ticks
            user, nice, system, _, _, *rest = [int(field) for field in fields[:8]]
            busy += user + nice + system + sum(rest)
    return CpuUsage(time.monotonic(), busy / os.sysconf("SC_CLK_TCK"), own)


def cpu_quota() -> int:
    """Whole cores that the control group (version 2) grants; a large number if there is no limit."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, math.ceil(int(limit) / int(period))) if limit != "max" else 1 << 16
    except (OSError, ValueError):
        return 1 << 16
