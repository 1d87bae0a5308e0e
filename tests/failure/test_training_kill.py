"""SIGKILL in the middle of training: the same number of steps, the same curve, the same final loss."""

import json
import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.training.config import TrainConfig, load_preset
from services.training.exits import StopFlag
from services.training.run.train import train
from shared.jobs.state import ShardState
from tests.failure.chaos.sense_on_s3 import s3_environment
from tests.support.s3_server import S3Server
from tests.support.training_jobs import TrainingWorld, make_world
from tests.support.valkey import module_redis_url
from tests.unit.training.conftest import sft_line, tiny_base

__all__ = ["module_redis_url", "tiny_base"]

pytestmark = [pytest.mark.timeout(280)]
STEPS = 240
SETTINGS: dict[str, Any] = {
    "max_steps": STEPS,
    "batch_size": 4,
    "lora_rank": 4,
    "max_length": 256,
    "learning_rate": 5e-3,
}
SETTINGS |= {"bf16": False}  # the two thread counts differ twenty times as much in bfloat16
DATA = "".join(json.dumps(sft_line(index)) + "\n" for index in range(64)).encode()
TOLERANCE = 0.005  # two unkilled runs with one thread and with two differ by 0.0006 of a loss


@pytest.fixture(scope="module")
def world(module_redis_url: str, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingWorld]:
    world = make_world(tmp_path_factory.mktemp("training"), module_redis_url, tiny_base)
    yield world
    world.stop()


@pytest.fixture(scope="module")
def unkilled(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of an undisturbed run, in this process."""
    folder = tmp_path_factory.mktemp("unkilled")
    (folder / "sft.jsonl").write_bytes(DATA)
    files = {"base_dir": tiny_base, "data": folder / "sft.jsonl", "out_dir": folder / "run"}
    recipe = load_preset("cpu-smoke").sft.model_dump() | SETTINGS | {"save_steps": None}
    config = TrainConfig.model_validate({**recipe, **files, "method": "sft", "name": "unkilled", "base_name": "tiny"})
    config.out_dir.mkdir()
    train(config, StopFlag(), time.monotonic())
    return [json.loads(line)["loss"] for line in config.metrics_file.read_text().splitlines()]


def check(world: TrainingWorld, job: str, name: str, unkilled: list[float]) -> None:
    """One line a step, the unkilled run's curve, a whole model, no checkpoints left."""
    lines = world.curve(job)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert [line["loss"] for line in lines] == pytest.approx(unkilled, rel=TOLERANCE, abs=TOLERANCE)
    assert world.manifest(name).facts["steps"] == STEPS
    assert not list(world.objects.list(f"jobs/{job}/sft/checkpoint-"))


def reached(world: TrainingWorld, job: str, step: int) -> bool:
    return world.step(job) >= step


def tried_again(world: TrainingWorld, job: str, attempt: int) -> bool:
    return world.row(job).attempt > attempt


def test_three_kills_in_one_training_change_nothing(world: TrainingWorld, unkilled: list[float]) -> None:
    """As many kills as a shard has attempts: each checkpoint pays them back."""
    rng = random.Random(20)
    job = world.submit(DATA, "three-kills", **SETTINGS, save_steps=10)
    for number, what in enumerate(("run", "worker", "both")):
        moment = rng.randint(15 + 60 * number, 60 + 60 * number)
        world.wait(partial(reached, world, job, moment), f"step {moment}")
        assert world.row(job).state == ShardState.RUNNING
        world.kill(what)
        world.wait(partial(tried_again, world, job, number + 1), "the next attempt")
    row = world.finish(job)
    check(world, job, "three-kills", unkilled)
    assert row.attempt == 4
    assert world.log().count("training.resumed") == 3


def test_a_lost_machine_is_replaced_by_one_that_has_nothing_but_the_s3_store(
    module_redis_url: str, tiny_base: Path, unkilled: list[float], tmp_path: Path
) -> None:
    with S3Server(tmp_path) as s3:
        world = make_world(tmp_path, module_redis_url, tiny_base, **s3_environment(s3.endpoint))
        job = world.submit(DATA, "moved", **SETTINGS, save_steps=10)
        world.wait(lambda: world.step(job) >= 40 and "checkpoint.stored" in world.log(), "step 40")
        world.kill("both")
        world.environment["SENSE_STATE"] = str(tmp_path / "another-machine")
        row = world.finish(job)
        check(world, job, "moved", unkilled)
        world.stop()
    assert row.attempt == 2
    assert world.log().count("training.resumed") == 1
    assert (tmp_path / "another-machine").is_dir()


@pytest.mark.bench
@pytest.mark.parametrize("seed", range(10))
def test_a_kill_at_any_moment_changes_nothing(world: TrainingWorld, unkilled: list[float], seed: int) -> None:
    """Ten moments by seed: three while the process starts, seven at any step; run with `-m bench`."""
    rng = random.Random(seed)
    what, name = ("run", "worker", "both")[seed % 3], f"moment-{seed}"
    job = world.submit(DATA, name, **SETTINGS, save_steps=10)
    world.wait(lambda: bool(world.children()), "the training process")
    if seed < 3:
        time.sleep(rng.uniform(0.0, 4.0))
    else:
        moment = rng.randint(1, STEPS - 2)
        world.wait(lambda: world.step(job) >= moment, f"step {moment}")
        time.sleep(rng.uniform(0.0, 0.02))
    print(f"{what} killed at step {world.step(job)}, {world.row(job).state}")
    world.kill(what)
    world.finish(job)
    check(world, job, name, unkilled)
