"""The curve as a TensorBoard event file, written from metrics.jsonl: a resumed run leaves no step twice."""

import time
from pathlib import Path

from shared.files import parse_json_lines

PLACES = {"lr": "train/learning_rate", "epoch": "train/epoch", "tokens": "train/tokens"}
NOT_DRAWN = {"step", "total_steps", "seconds", "questions"}


def write_events(metrics: Path, target: Path) -> None:
    """Every number of every line, under its step and the time it was taken at; replaces `target`."""
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    lines = parse_json_lines(metrics.read_bytes())
    began = time.time() - (lines[-1]["seconds"] if lines else 0.0)
    base = target.with_name(target.name + ".writing")
    writer = EventsWriter(str(base))
    for line in lines:
        for name, value in line.items():
            if name not in NOT_DRAWN:
                summary = scalar(PLACES.get(name, f"train/{name}"), value)
                writer.write_event(Event(wall_time=began + line["seconds"], step=line["step"], summary=summary))
    writer.close()
    (written,) = target.parent.glob(f"{base.name}*")
    written.rename(target)
