"""Our trainers against TRL's own, step by step in turn, and a supervised run against the same run bare.

    python -m tests.bench.bench_training [--what demo,spider,dpo,supervisor] [--orders same,own] [--steps 6]
        [--threads 2]

SmolLM2-135M, LoRA, bfloat16 where the processor has it. Both arms of a comparison live at once and take steps in turn,
so that what else the machine does falls on both; the ratio is of medians, of wall time and of CPU time. `same order`
gives TRL our batches, so the losses can be compared; `own order` lets it draw its own, as it would. TRL's defaults
hold but for gradient checkpointing (off in both) and the length limit (rows are measured before).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.training.config import TrainConfig, load_preset
from services.training.supervisor import RunStatus, TrainingProcess, launch_command
from tests.bench.training_data import as_pairs, demo_rows, spider_rows, write
from tests.support.benchmarks import DATA
from tests.support.small_model import REF, small_model

REPO = Path(__file__).parents[2]
WARM_UP = 1


@dataclass
class Arm:
    """A process that takes a step when it is told to."""

    name: str
    process: "subprocess.Popen[str]"
    log: Path
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)  # cumulative, without padding
    before: float = 0.0
    rows: int = 0

    def until(self, key: str) -> dict[str, Any]:
        """The next message that has `key`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message: dict[str, Any] = json.loads(line)
            if "before" in message:
                self.before, self.rows = message["before"], message["rows"]
            if key in message:
                return message
        raise RuntimeError(f"the arm {self.name} ended ({self.process.wait()}): {self.log.read_text()[-2000:]}")

    def step(self) -> None:
        """One step; the arm stands still again afterwards."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        took = self.until("loss")
        self.wall.append(took["wall"])
        self.cpu.append(took["cpu"])
        self.losses.append(took["loss"])
        self.tokens.append(int(took["tokens"] or 0))

    def speed(self, values: list[float]) -> float:
        """Tokens a second over the counted steps."""
        return (self.tokens[-1] - self.tokens[WARM_UP - 1]) / sum(values[WARM_UP:])

    def median(self, values: list[float]) -> float:
        return statistics.median(values[WARM_UP:])


@contextmanager
def started(name: str, config: TrainConfig, folder: Path) -> Iterator[Arm]:
    """An arm that is ready for its first step."""
    own = config.model_copy(update={"out_dir": folder / name})
    own.out_dir.mkdir(parents=True)
    path = folder / f"{name}.json"
    path.write_text(own.model_dump_json())
    command = [sys.executable, "-m", "tests.bench.training_arm", name, str(path)]
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    arm = Arm(name, process, folder / f"{name}.log")
    try:
        arm.until("ready")
        yield arm
    finally:
        process.kill()
        process.wait()


def compare(title: str, config: TrainConfig, other: str, folder: Path, steps: int) -> None:
    """Steps in turn, then one line an arm and the ratios."""
    place = Path(tempfile.mkdtemp(dir=folder))
    with ExitStack() as stack:
        first = stack.enter_context(started("ours", config, place))
        second = stack.enter_context(started(other, config, place))
        for number in range(steps):
            order = (first, second) if number % 2 else (second, first)
            for arm in order:
                arm.step()
                if number + 1 < steps:
                    arm.until("ready")
    print(f"\n## {title}: {config.batch_size} a step, {config.threads} thread(s), {steps - WARM_UP} steps counted")
    wall, cpu = (second.median(getattr(second, kind)) / first.median(getattr(first, kind)) for kind in ("wall", "cpu"))
    if other == "stock":  # other rows a step, so seconds a step say nothing
        wall, cpu = (
            first.speed(getattr(first, kind)) / second.speed(getattr(second, kind)) for kind in ("wall", "cpu")
        )
    for arm in (first, second):
        losses = " ".join(f"{loss:.3f}" for loss in arm.losses)
        print(
            f"{arm.name:17} {arm.median(arm.wall):7.2f} s/step  {arm.median(arm.cpu):7.2f} CPU s/step  losses {losses}"
        )
    print(f"ratio             {wall:7.2f} wall    {cpu:7.2f} CPU", flush=True)
    if config.method == "dpo":
        whole = [arm.median(arm.cpu) + arm.before * config.batch_size / arm.rows for arm in (first, second)]
        print(f"with what comes before the steps (ours: the reference), over one epoch: {whole[1] / whole[0]:.2f} CPU")


def configure(folder: Path, data: Path, method: str, threads: int, **more: Any) -> TrainConfig:
    """The demo's recipe on the small model."""
    preset = load_preset("cpu-demo")
    recipe = (preset.sft if method == "sft" else preset.dpo).model_dump()
    files = {"base_dir": small_model(), "data": data, "out_dir": folder / "run", "name": "bench", "base_name": REF}
    given = {"threads": threads, "save_minutes": None, "warmup_ratio": 0, "method": method, **more}
    return TrainConfig.model_validate({**recipe, **files, **given})


def adapter(folder: Path, data: Path, threads: int) -> Path:
    """An SFT adapter of a few steps, for DPO to continue."""
    config = configure(folder / "parent", data, "sft", threads, max_steps=2)
    run = TrainingProcess(config)
    run.start()
    if run.wait().status is not RunStatus.FINISHED:
        raise run.error()
    return config.artefact_dir


def bare(config: TrainConfig) -> None:
    """The same script without a supervisor."""
    config.out_dir.mkdir(parents=True)
    path = config.out_dir / "config.json"
    path.write_text(config.model_dump_json())
    with (config.out_dir / "train.log").open("w") as log:
        process = subprocess.Popen(
            launch_command(config, path), cwd=REPO, stdin=subprocess.PIPE, stdout=log, stderr=log
        )
    assert process.wait() == 0, (config.out_dir / "train.log").read_text()[-2000:]


def supervised(config: TrainConfig, folder: Path) -> float:
    """Supervisor, metrics and uploads as the task runs them; CPU seconds of the supervisor itself."""
    from services.training.checkpoints import CheckpointStore, CheckpointUploader
    from services.training.tasks import POLL_S
    from shared.storage.directory import DirectoryStore

    store = CheckpointStore(DirectoryStore(folder / "objects"), "job", "sft", recipe="r", writer=config.out_dir.name)
    run = TrainingProcess(config)
    uploader = CheckpointUploader(config, store, since=0, stored=lambda _: None)
    began = time.process_time()
    run.start()
    uploader.start()
    while run.poll().status is RunStatus.RUNNING:
        run.new_metrics()
        time.sleep(POLL_S)
    uploader.close(keep=True)
    run.facts()
    assert store.steps(), "no checkpoint was stored"
    return time.process_time() - began


def compare_supervisor(config: TrainConfig, folder: Path, pairs: int) -> None:
    """Runs in the order bare, supervised, supervised, bare; every one trains the same steps and saves as often."""
    speeds: dict[str, list[float]] = {"bare": [], "supervised": []}
    own = 0.0
    for number, kind in enumerate(["bare", "supervised", "supervised", "bare"] * pairs):
        one = config.model_copy(update={"out_dir": folder / f"{kind}-{number}"})
        if kind == "bare":
            bare(one)
        else:
            own += supervised(one, folder)
        facts = json.loads((one.artefact_dir / "train.json").read_text())
        speeds[kind].append(facts["tokens"] / facts["train_seconds"])
    print("\n## Supervised against bare, tokens a second of the training loop, a checkpoint every 12 steps")
    for kind, found in speeds.items():
        print(f"{kind:12} {' '.join(f'{speed:.1f}' for speed in found)}  median {statistics.median(found):.1f}")
    seconds = 2 * pairs * config.max_steps if config.max_steps else 1
    print(f"ratio {statistics.median(speeds['supervised']) / statistics.median(speeds['bare']):.3f}; ", end="")
    print(f"the supervisor's own CPU: {own / seconds:.3f} s a step, uploads included", flush=True)


def main() -> None:
    """Prints a block a comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", default="demo,spider,dpo,supervisor")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--orders", default="same,own")
    parser.add_argument(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        help="of both arms; TRL's on Spider's lengths takes 24 GiB without",
    )
    given = parser.parse_args()
    wanted = given.what.split(",")
    steps, threads = given.steps + WARM_UP, given.threads
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        demo = demo_rows(160)
        sft = write(folder / "demo.jsonl", demo)
        arms = {"same order": "stock-same-order", "own order": "stock"}
        arms = {f"{order} order": arms[f"{order} order"] for order in given.orders.split(",")}
        if "demo" in wanted:
            config = configure(folder, sft, "sft", threads, max_steps=steps, bf16=given.bf16)
            for order, arm in arms.items():
                compare(f"SFT, the demo's rows, {order}", config, arm, folder, steps)
        if "spider" in wanted and (DATA / "spider").exists():
            data = write(folder / "spider.jsonl", spider_rows(96))
            config = configure(folder, data, "sft", threads, max_steps=steps, max_length=4096, bf16=given.bf16)
            for order, arm in arms.items():
                compare(f"SFT, Spider train's lengths, {order}", config, arm, folder, steps)
        if "dpo" in wanted:
            parent = adapter(folder, sft, threads)
            pairs = write(folder / "pairs.jsonl", as_pairs(demo[:48]))
            config = configure(folder, pairs, "dpo", threads, max_steps=steps, parent_adapter=parent)
            compare("DPO, the demo's rows, same order", config, "stock-same-order", folder, steps)
        if "supervisor" in wanted:
            config = configure(folder, sft, "sft", threads, max_steps=24, save_steps=12)
            compare_supervisor(config, folder, 1)


if __name__ == "__main__":
    main()
