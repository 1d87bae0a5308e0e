"""What a finished run leaves: weights, tokenizer, model card, TensorBoard events, facts."""

import json
import platform
import shutil
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from services.training.checkpoints import file_sha256
from services.training.config import TrainConfig
from services.training.run.data import DataFacts
from services.training.run.devices import is_main_process
from services.training.scores import SelectionScore
from shared.files import parse_json_lines
from shared.models.bases import base_fingerprint

EVENT_TAGS = {"lr": "train/learning_rate", "epoch": "train/epoch", "tokens": "train/tokens"}
NOT_PLOTTED = {"step", "total_steps", "seconds", "questions"}
EVENTS_FILE = "curve.tfevents"
LIBRARIES = ("torch", "transformers", "trl", "peft")


@dataclass(frozen=True)
class RunFacts:
    """The numbers of a finished run; `final_loss` is the mean over the last tenth of its steps.

    `scores` are those on the selection split. `kept_step` is the step whose weights were kept, None for the last one.
    """

    steps: int
    final_loss: float
    tokens: int
    train_seconds: float
    seconds: float
    threads: int
    bf16: bool
    peak_memory_bytes: int = 0
    scores: list[SelectionScore] = field(default_factory=list)
    kept_step: int | None = None


def write_artefact(config: TrainConfig, trainer: Any, tokenizer: Any, data: DataFacts, run: RunFacts) -> None:
    """Fills `config.artefact_dir`, `train.json` last. Every process of a launch must call it."""
    save_weights(config, trainer)
    if not is_main_process():
        return
    folder = config.artefact_dir
    tokenizer.save_pretrained(folder)
    _name_base(config, folder)
    facts = collect_facts(config, data, run)
    shutil.copy(config.metrics_file, folder / config.metrics_file.name)
    write_events(config.metrics_file, folder / EVENTS_FILE)
    (folder / "README.md").write_text(model_card(config, facts))
    # readable for other users, too, whatever the libraries chose
    for path in folder.iterdir():
        path.chmod(0o644)
    # last: its presence means that the artefact is complete
    (folder / "train.json").write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")


def save_weights(config: TrainConfig, trainer: Any) -> None:
    import torch

    folder, model = config.artefact_dir, trainer.model
    if config.launch in ("fsdp", "zero3"):
        trainer.save_model(str(folder))  # gathers the weights of all processes
    elif not is_main_process():
        return
    else:
        save_model(config, model.to(torch.bfloat16) if config.mode == "full" else model, folder)


def save_model(config: TrainConfig, model: Any, folder: Path) -> None:
    if config.mode == "full":
        model.save_pretrained(folder)
    else:
        # the vocabulary never changes; without the argument, PEFT reads the base's config from the hub to find out
        model.save_pretrained(folder, save_embedding_layers=False, selected_adapters=["default"])


def _name_base(config: TrainConfig, folder: Path) -> None:
    """Names the base as the spec does, in place of a path of this machine."""
    path = folder / "adapter_config.json"
    if path.exists():
        adapter = json.loads(path.read_text())
        adapter["base_model_name_or_path"] = config.base_name
        path.write_text(json.dumps(adapter, indent=2, sort_keys=True) + "\n")


def collect_facts(config: TrainConfig, data: DataFacts, run: RunFacts) -> dict[str, Any]:
    # paths of this machine say nothing to anybody who reads the facts
    recipe = config.model_dump(mode="json", exclude={"base_dir", "parent_adapter", "data", "out_dir", "questions"})
    versions = {name: metadata.version(name) for name in LIBRARIES} | {"python": platform.python_version()}
    parent = None
    if config.parent_adapter is not None:
        parent = file_sha256(config.parent_adapter / "adapter_model.safetensors")
    base = base_fingerprint(config.base_dir)
    return (
        {
            "base_fingerprint": base,
            "config": recipe,
            "data": asdict(data),
            "versions": versions,
            "parent_adapter_sha256": parent,
        }
        | asdict(run)
        | {"scores": [one.model_dump() for one in run.scores]}
    )


def model_card(config: TrainConfig, facts: dict[str, Any]) -> str:
    data = facts["data"]
    library = "peft" if config.mode == "lora" else "transformers"
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    rows = [
        ("Base", config.base_name),
        ("Method", f"{config.method}, {config.mode}"),
        ("Continues", f"adapter {facts['parent_adapter_sha256'][:16]}" if facts["parent_adapter_sha256"] else "base"),
        ("Data (SHA-256)", data["sha256"]),
        ("Rows", describe_rows(data)),
        ("Tokens a row", ", ".join(f"{name} {value}" for name, value in data["lengths"].items())),
        ("Steps", str(facts["steps"])),
        ("Final loss", f"{facts['final_loss']:.4f}"),
        *describe_scores(facts),
        ("Seconds", f"{facts['seconds']:.0f}"),
        ("Peak memory", f"{facts['peak_memory_bytes'] / 2**30:.1f} GiB"),
        ("Versions", versions),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        f"---\nlibrary_name: {library}\ntags: [text-to-sql, {config.method}]\n---\n\n"
        f"# {config.name}\n\nA text-to-SQL model for SQLite, trained by Sense.\n\n| | |\n|---|---|\n{table}\n\n"
        f"## Configuration\n\n```json\n{json.dumps(facts['config'], indent=2, sort_keys=True)}\n```\n"
    )


def describe_scores(facts: dict[str, Any]) -> list[tuple[str, str]]:
    if not facts["scores"]:
        return []
    scores = ", ".join(f"{one['correct']}/{one['questions']} at step {one['step']}" for one in facts["scores"])
    kept = f"step {facts['kept_step']}, the best of these" if facts["kept_step"] else "the last step's"
    return [("Selection split, right", scores), ("Weights", kept)]


def describe_rows(data: dict[str, Any]) -> str:
    shortened = "".join(f", {count} shortened ({step})" for step, count in data["shortened"].items())
    return f"{data['kept']} used{shortened}, {data['dropped']} too long"


def write_events(metrics: Path, target: Path) -> None:
    """Writes the curve as a TensorBoard file from metrics.jsonl, so that a resumed run has no step twice."""
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    lines = parse_json_lines(metrics.read_bytes())
    began = time.time() - (lines[-1]["seconds"] if lines else 0.0)
    base = target.with_name(target.name + ".writing")
    writer = EventsWriter(str(base))
    for line in lines:
        for name, value in line.items():
            if name not in NOT_PLOTTED:
                summary = scalar(EVENT_TAGS.get(name, f"train/{name}"), value)
                writer.write_event(Event(wall_time=began + line["seconds"], step=line["step"], summary=summary))
    writer.close()
    # the writer adds a suffix of its own to the name
    (written,) = target.parent.glob(f"{base.name}*")
    written.rename(target)
