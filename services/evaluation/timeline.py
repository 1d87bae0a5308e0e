"""When each stage ran, and what ran beside what."""

from services.evaluation.format import seconds_text
from services.evaluation.model import StageSpan
from services.evaluation.report_data import Timeline

WRITE, VERIFY = "synthesis.write_examples", "sandbox.verify_examples"
SAMPLE, JUDGE, TRAIN = "pairing.sample_candidates", "sandbox.judge_candidates", "training.train_model"


def build_timeline(stages: list[StageSpan]) -> Timeline | None:
    """Stages by first start on a clock from 0, with their sentences; None without stages."""
    if not stages:
        return None
    origin = min(stage.first_start for stage in stages)
    moved = sorted((shifted(stage, origin) for stage in stages), key=lambda one: (one.first_start, one.stage_id))
    wall = max(stage.last_end for stage in moved)
    busy = round(sum(stage.busy_seconds for stage in moved), 3)
    text = f"The stages were busy for {seconds_text(busy)} in all, within {seconds_text(wall)} of wall clock."
    sentences = [text, *overlap_sentences(moved)]
    return Timeline(stages=moved, wall_seconds=wall, busy_seconds=busy, sentences=sentences)


def shifted(stage: StageSpan, origin: float) -> StageSpan:
    """The same stage on a clock that starts at `origin`, milliseconds kept."""
    spans = [
        one.model_copy(update={"start": round(one.start - origin, 3), "end": round(one.end - origin, 3)})
        for one in sorted(stage.spans, key=lambda one: (one.start, one.shard))
    ]
    moved = {"first_start": round(stage.first_start - origin, 3), "last_end": round(stage.last_end - origin, 3)}
    return stage.model_copy(update={**moved, "spans": spans, "busy_seconds": round(stage.busy_seconds, 3)})


def overlap_sentences(stages: list[StageSpan]) -> list[str]:
    """How verification, sampling and judging lay to what feeds them."""
    writing, verifying, sampling = first(stages, WRITE), first(stages, VERIFY), first(stages, SAMPLE)
    sentences: list[str] = []
    if writing and verifying:
        sentences.append(relation("verification", verifying, writing, "the last example was written"))
    if writing and sampling:
        sentences.append(sampling_sentence(stages, sampling, writing))
    if sampling and (judging := judging_of(stages, sampling)):
        sentences.append(relation("judging", judging, sampling, "the last candidate was sampled"))
    return sentences


def first(stages: list[StageSpan], task: str) -> StageSpan | None:
    """The earliest stage of a task."""
    return next((stage for stage in stages if stage.task == task), None)


def judging_of(stages: list[StageSpan], sampling: StageSpan) -> StageSpan | None:
    """The first judging that began after the sampling did."""
    return next((one for one in stages if one.task == JUDGE and one.first_start >= sampling.first_start), None)


def sampling_sentence(stages: list[StageSpan], sampling: StageSpan, writing: StageSpan) -> str:
    """Whether sampling overlapped the writing of examples or waited for a training."""
    trained = [one for one in stages if one.task == TRAIN and one.last_end <= sampling.first_start]
    if trained and sampling.first_start >= writing.last_end:
        last = max(trained, key=lambda one: (one.last_end, one.stage_id))
        gap = seconds_text(sampling.first_start - last.last_end)
        return f"Sampling waited for SFT (weak.sft_first): it began {gap} after {last.stage_id} ended."
    return relation("sampling", sampling, writing, "the last example was written")


def relation(what: str, later: StageSpan, earlier: StageSpan, event: str) -> str:
    """Whether `later` began before the last end of `earlier`, and by how much."""
    lead = earlier.last_end - later.first_start
    if lead > 0:
        return f"{what.capitalize()} began {seconds_text(lead)} before {event}."
    return f"{what.capitalize()} began {seconds_text(-lead)} after {event}: no overlap."
