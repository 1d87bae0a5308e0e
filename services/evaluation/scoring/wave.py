"""The second wave of synthesis: what the weak model failed at, what was asked for, what was written."""

from collections import Counter
from collections.abc import Mapping

from services.evaluation.model import WaveFacts, WaveLine
from services.evaluation.reports.format import NONE, Table, percent
from shared.contracts.base import StageRef
from shared.contracts.evaluation import Score
from shared.contracts.pairing import ErrorProfile
from shared.contracts.records import Candidate, Example, Wish
from shared.jobs.state import StageState
from shared.sql.features import sql_features
from shared.tasks.task import Shard

WRITE, VERIFY, REVIEW, SAMPLE = "write.errors", "verify.errors", "review.errors", "sample.errors"


def gather_wave(command: Score, shard: Shard, states: Mapping[str, StageState]) -> WaveFacts | None:
    """The wave by its stages; None where there was none."""
    if command.followed is None:
        return None
    (ref,) = shard.refs(command.followed, "profile")
    profile = ErrorProfile.model_validate_json(shard.objects.get(ref.key))
    wishes = shard.stage_records(command.followed, "wishes", Wish)
    weights = {wish.name: wish.weight for wish in wishes if wish.kind == "feature"}
    used: Counter[str] = Counter()
    accepted = REVIEW if REVIEW in states else VERIFY
    for example in shard.stage_records(StageRef(stage=accepted), "examples", Example):
        used.update(sql_features(example.gold).used)
    first = next(shard.stage_records(StageRef(stage=SAMPLE), "candidates", Candidate), None)
    counts = {stage: states[stage].counts for stage in (WRITE, accepted, command.followed.stage)}
    return WaveFacts(
        weak_model=first.model if first else "",
        answers=counts[command.followed.stage].get("answers", 0),
        failed=counts[command.followed.stage].get("failed", 0),
        written=counts[WRITE].get("written", 0),
        followed=counts[WRITE].get("followed", 0),
        accepted=counts[accepted].get("accepted", 0),
        lines=wave_lines(profile, weights, used),
    )


def wave_lines(profile: ErrorProfile, weights: Mapping[str, float], used: Mapping[str, int]) -> list[WaveLine]:
    """A line a feature of the profile, what was wished for most first."""
    lines = [
        WaveLine(
            name=line.name,
            answers=line.answers,
            failed=line.answers - line.correct,
            weight=weights.get(line.name, 0.0),
            written=used.get(line.name, 0),
        )
        for line in profile.features
    ]
    return sorted(lines, key=lambda line: (-line.weight, -line.failed / max(1, line.answers), line.name))


def wave_table(wave: WaveFacts) -> Table:
    """Failures before, wishes, and what the wave's golds use."""
    rows = [
        [
            line.name.replace("_", " "),
            str(line.answers),
            percent(line.failed / line.answers) if line.answers else NONE,
            percent(line.weight) if line.weight else NONE,
            f"{percent(line.written / wave.accepted)} ({line.written})" if wave.accepted else NONE,
        ]
        for line in wave.lines
    ]
    return Table(["The gold uses", "Answers", "Not right", "Share of the wishes", "In the second wave"], rows)


def wave_sentence(wave: WaveFacts) -> str:
    """What was done, in a sentence or two."""
    failed = f"{wave.failed} of {wave.answers} answers of {wave.weak_model} to the first wave were not right"
    if not any(line.weight for line in wave.lines):
        return f"{failed}; no feature failed more than others, so the second wave was written like the first."
    return (
        f"{failed}. The second wave of {wave.written} examples was asked for what failed more often than the average "
        f"answer: {wave.followed} use the feature drawn for them, {wave.accepted} were accepted and joined the "
        "training data."
    )
