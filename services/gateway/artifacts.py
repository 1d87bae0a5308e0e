"""Names for what finished shards left: a caller names an artifact, and only a recorded output's key is opened."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from shared.client.models import Artifact
from shared.contracts.refs import ObjectRef
from shared.jobs.plan import EachShard, FixedShards, JobPlan, TopUp
from shared.jobs.state import ShardRecord, ShardState

REPORT_TASK = "evaluation.score"
REPORT_NAMES = {"report": "report.json", "markdown": "report.md", "html": "report.html", "terminal": "report.txt"}
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
CONTENT_TYPES = {
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".yaml": "application/yaml",
    ".sqlite": "application/vnd.sqlite3",
}
Found = dict[str, tuple[Artifact, ObjectRef]]


def single_stages(plan: JobPlan) -> set[str]:
    """Stages whose outputs need no shard in their names: they have one shard whatever happens, or, where they are
    topped up, their last shard's outputs are the ones that count."""
    single: set[str] = set()
    for stage in plan.stages:
        source = stage.source
        fixed = isinstance(source, FixedShards) and len(source.shards) == 1
        if fixed or isinstance(source, TopUp) or (isinstance(source, EachShard) and source.stage in single):
            single.add(stage.id)
    return single


def name_artifacts(plan: JobPlan, rows: Iterable[ShardRecord]) -> Found:
    """Every output of the finished rows by its name, in the rows' order.

    `{stage}/{output}` for single-shard stages, `{stage}/{shard}/{output}` for others; the first report's files are
    `report.json`, `report.md`, `report.html` and `report.txt`.
    """
    single, tasks = single_stages(plan), {stage.id: stage.task for stage in plan.stages}
    found: Found = {}
    for row in rows:
        if row.state is not ShardState.DONE:
            continue
        for output, ref in row.outputs.items():
            name = f"{row.stage}/{output}" if row.stage in single else f"{row.stage}/{row.shard}/{output}"
            report = REPORT_NAMES.get(output) if tasks.get(row.stage) == REPORT_TASK else None
            if report and report not in found:
                name = report
            found[name] = (make_artifact(name, row, ref), ref)
    return found


def make_artifact(name: str, row: ShardRecord, ref: ObjectRef) -> Artifact:
    """What a caller is told of an output."""
    suffix = PurePosixPath(ref.key).suffix
    stem = UNSAFE.sub("-", name).strip(".-") or "artifact"
    return Artifact(
        name=name,
        filename=stem if stem.endswith(suffix) else stem + suffix,
        content_type=CONTENT_TYPES.get(suffix, "application/octet-stream"),
        size=ref.size,
        sha256=ref.sha256,
        stage=row.stage,
        shard=row.shard,
    )
