"""Watches a job until it ends: progress bars on a terminal, one line per change elsewhere."""

import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from services.cli.render import brief, counts_text, plain_table, seconds, span, status_text
from shared.api.resources import Job, Stage
from shared.client.client import SenseClient
from shared.errors import UnavailableError

POLL_S = 0.5
PATIENCE_S = 30.0
LOOK_BACK_S = 60.0
BAR_WIDTH = 24
SETTLED = ("done", "skipped")
RETRIED = ("shard.retrying", "shard.requeued")


def watch_job(client: SenseClient, job_id: str, console: Console, *, goes_on: bool = True) -> Job:
    """Shows the job until it ends, and returns it. Waits half a minute for a gateway that does not answer.

    Ctrl-C raises `KeyboardInterrupt`; if the job `goes_on` without its watcher, the user learns how to cancel it.
    """
    watched = Watched(client, job_id)
    try:
        if console.is_terminal:
            return watch_live(watched, console)
        return watch_lines(watched, console)
    except KeyboardInterrupt:
        if goes_on:
            console.print(Text(f"\nJob {job_id} goes on without you."))
            console.print(Text(f"  see it:    sense job {job_id}\n  cancel it: sense cancel {job_id}"))
        raise


class Watched:
    """A job with the latest progress of each stage."""

    def __init__(self, client: SenseClient, job_id: str) -> None:
        self.client = client
        self.job_id = job_id
        # Events carry Redis stream ids: milliseconds, then a number.
        self.after = f"{max(0, int((time.time() - LOOK_BACK_S) * 1000))}-0"
        self.notes: dict[str, str] = {}
        self.troubles: list[str] = []
        self.answered_at = time.monotonic()
        self.job = client.job(job_id)

    def look(self) -> Job:
        """The job now, or as last seen if the gateway does not answer."""
        try:
            self.read_progress()
            self.job = self.client.job(self.job_id)
            self.answered_at = time.monotonic()
        except UnavailableError:
            if time.monotonic() - self.answered_at > PATIENCE_S:
                raise
        return self.job

    def read_progress(self) -> None:
        for event in self.client.events(self.job_id, after=self.after):
            self.after = event.id
            if event.type == "progress" and event.stage:
                self.notes[event.stage] = brief(event.data)
            elif event.name in RETRIED and event.stage:
                trouble = f"{event.stage}: trying again: {event.data.get('message', 'its worker was lost')}"
                self.troubles.append(trouble)
                self.notes[event.stage] = trouble


def watch_live(watched: Watched, console: Console) -> Job:
    job = watched.job
    with Live(view(watched), console=console, refresh_per_second=4, transient=False) as live:
        while not job.terminal:
            time.sleep(POLL_S)
            job = watched.look()
            live.update(view(watched))
    return job


def view(watched: Watched) -> Group:
    job = watched.job
    head = Text.assemble(
        f"job {job.id}  {job.name}  ", status_text(job.status), f"  {span(job.started_at, job.finished_at)}"
    )
    begun = [stage for stage in job.stages if stage.status != "waiting"]
    waiting = len(job.stages) - len(begun)
    foot = Text(f"{waiting} more stage(s) wait", style="dim") if waiting and not job.terminal else Text("")
    return Group(head, bars(begun, watched.notes), foot)


def bars(stages: list[Stage], notes: dict[str, str]) -> Table:
    table = plain_table("stage", "", "shards", "rate", "")
    for stage in stages:
        total = max(stage.total, 1)
        bar = ProgressBar(total=total, completed=total if stage.status in SETTLED else stage.done, width=BAR_WIDTH)
        table.add_row(Text(stage.id), bar, f"{stage.done}/{stage.total}", rate(stage), Text(remark(stage, notes)))
    return table


def rate(stage: Stage) -> str:
    """Shards per minute while the stage runs; afterwards how long it took."""
    if stage.started_at is None:
        return ""
    if stage.finished_at is not None:
        return seconds(stage.finished_at - stage.started_at)
    elapsed = time.time() - stage.started_at
    return f"{60 * stage.done / elapsed:.1f}/min" if stage.done and elapsed > 0 else span(stage.started_at, None)


def remark(stage: Stage, notes: dict[str, str]) -> str:
    if stage.status == "skipped":
        return "skipped"
    if stage.failed:
        return f"{stage.failed} shard(s) failed"
    if stage.running:
        note = notes.get(stage.id, "")
        return f"{stage.running} running" + (f": {note}" if note else "")
    return counts_text(stage.counts) if stage.status == "done" else stage.status


def watch_lines(watched: Watched, console: Console) -> Job:
    said: dict[str, str] = {}
    job = watched.job
    while True:
        for stage in job.stages:
            if stage.status not in ("waiting", said.get(stage.id)):
                said[stage.id] = stage.status
                console.print(Text(stage_line(stage)))
        while watched.troubles:
            console.print(Text(watched.troubles.pop(0)))
        # The empty key stands for the job itself.
        if said.get("") != job.status:
            said[""] = job.status
            console.print(Text(f"job {job.id}: {job.status}"))
        if job.terminal:
            return job
        time.sleep(POLL_S)
        job = watched.look()


def stage_line(stage: Stage) -> str:
    parts = [f"{stage.id}: {stage.status}"]
    if stage.total:
        parts.append(f"{stage.done}/{stage.total} shards")
    if stage.finished_at is not None and stage.started_at is not None:
        parts.append(seconds(stage.finished_at - stage.started_at))
    if stage.status == "done" and (counted := counts_text(stage.counts)):
        parts.append(counted)
    return ", ".join(parts)
