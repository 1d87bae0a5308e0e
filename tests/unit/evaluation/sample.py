"""A report's input of realistic size, from one seed: 15 unseen databases, five greedy arms, two sampled ones."""

import random
from functools import cache

from services.evaluation.model import (
    ArmResults,
    ArmSpec,
    DataStats,
    PairStats,
    PromotionCandidate,
    ReportInput,
    RoundFacts,
    ShardSpan,
    StageSpan,
    TrainingFacts,
    WaveFacts,
    WaveLine,
)
from shared.contracts.pairing import ErrorProfile, PairShape, ProfileLine
from shared.contracts.records import (
    Candidate,
    Example,
    JudgedCandidate,
    Outcome,
    Policy,
    Provenance,
    ResultView,
    Split,
    Verdict,
)
from shared.pages.charts import bin_values

DOMAINS = [
    "beekeeping", "bicycle repair", "chess clubs", "coffee roasting", "community gardens",
    "ferry lines", "glassblowing", "harbour pilots", "ice rinks", "letterpress",
    "lighthouses", "museum loans", "seed banks", "tide gauges", "vineyards",
]  # fmt: skip
LEVELS = ("easy", "medium", "hard")


def example(number: int, split: Split, domain: str, **changes: object) -> Example:
    """A question about a domain."""
    level = LEVELS[number % 3]
    fields: dict[str, object] = {
        "example_id": f"{split[0]}{number:015x}",
        "database_id": f"{domain.replace(' ', '')}{split[0]}".ljust(24, "0"),
        "domain": domain,
        "split": split,
        "level": level,
        "question": f"Which members of {domain} joined after {1990 + number % 30} and paid more than {number} euros?",
        "gold": (
            f"SELECT m.name, SUM(p.amount) AS total\nFROM member AS m JOIN payment AS p ON p.member_id = m.id\n"
            f"WHERE m.joined > {1990 + number % 30}\nGROUP BY m.id HAVING total > {number}"
        ),
        "provenance": Provenance(writer="grammar", writer_version="grammar/1", seed=7, source=f"t{number % 9}"),
    }
    return Example.model_validate({**fields, **changes})


def judged(example_id: str, verdict: Verdict = Verdict.CORRECT, slot: int = 0, **changes: object) -> JudgedCandidate:
    """An answer with that verdict, its results with it."""
    gold = ResultView(outcome=Outcome.OK, columns=["name", "total"], rows=[["Ada", 41.5], ["Ben", 38]], row_count=2)
    wrong = ResultView(
        outcome=Outcome.OK,
        columns=["name", "joined", "amount"],
        rows=[["Ada", 2001, 12.25], ["Ben", None, 3], ["Cleo", 2011, 9.5]] * 2,
        row_count=18,
        truncated=True,
    )
    outcome, message, view = Outcome.OK, None, wrong
    sql: str | None = "SELECT name, joined, amount FROM member JOIN payment ON member.id = payment.member_id"
    if verdict is Verdict.CORRECT:
        view, sql = gold, "SELECT name, SUM(amount) FROM member JOIN payment USING (id) GROUP BY name"
    elif verdict is Verdict.ERROR:
        outcome, message = Outcome.UNKNOWN_COLUMN, "no such column: m.joined_on"
        view = ResultView(outcome=outcome, message=message)
    elif verdict is Verdict.UNEXTRACTABLE:
        outcome, view, sql = Outcome.UNEXTRACTABLE, None, None
    elif verdict is Verdict.BOTH_EMPTY:
        outcome = Outcome.EMPTY
        view = gold = ResultView(outcome=outcome, columns=["name"])
    candidate = Candidate(
        example_id=example_id,
        slot=slot,
        answer=sql or "I cannot",
        sql=sql,
        model="m",
        answer_key=f"answers/{slot}.json",
    )
    fields = {
        "candidate": candidate, "verdict": verdict, "policy": Policy.STRICT, "outcome": outcome, "message": message,
        "result": view, "gold_result": gold,
    }  # fmt: skip
    return JudgedCandidate.model_validate({**fields, **changes})


def draw(rng: random.Random, skill: float) -> Verdict:
    """Right with chance `skill`, else mostly wrong, now and then invalid."""
    if rng.random() < skill:
        return Verdict.CORRECT
    return rng.choices([Verdict.WRONG, Verdict.ERROR, Verdict.UNEXTRACTABLE, Verdict.TIMEOUT], [60, 25, 12, 3])[0]


def arm(
    rng: random.Random, spec: ArmSpec, examples: list[Example], skill: float, hardness: dict[str, float]
) -> ArmResults:
    """An arm whose chance on a question is its skill less the question's hardness."""
    rows = []
    for one in examples:
        for slot in range(spec.samples):
            verdict = draw(rng, skill - hardness[one.example_id])
            if one.example_id.endswith("7b"):
                verdict = Verdict.GOLD_FAILED
            elif one.example_id.endswith("3c") and verdict is Verdict.CORRECT:
                verdict = Verdict.BOTH_EMPTY
            rows.append(judged(one.example_id, verdict, slot))
    return ArmResults(arm=spec, rows=rows)


def spec(name: str, title: str, model: str, **changes: object) -> ArmSpec:
    """An arm's spec."""
    return ArmSpec.model_validate({"id": name, "title": title, "model": model, **changes})


def profile_line(name: str, **counts: int) -> ProfileLine:
    """A line of an error profile; what is not named is 0."""
    fields = dict.fromkeys(("correct", "wrong", "error", "timeout", "unextractable"), 0)
    return ProfileLine(name=name, **(fields | counts))


@cache
def make_input(seed: int = 3) -> ReportInput:
    """150 held-out questions over 15 databases, 30 handwritten over 5, 60 for selection over 4."""
    rng = random.Random(seed)
    test = [example(k, "test", DOMAINS[k % 15]) for k in range(150)]
    hand = [example(k, "handwritten", DOMAINS[k % 5]) for k in range(30)]
    selection = [example(k, "selection", f"training domain {k % 4}") for k in range(60)]
    hardness = {one.example_id: rng.uniform(-0.15, 0.25) for one in [*test, *hand, *selection]}
    skill = {"base-zero": 0.12, "base-two": 0.3, "sft": 0.72, "sft-chosen": 0.74, "dpo": 0.78}
    trained = {"train_items": 1600, "train_steps": 200}
    more = {"train_items": 2240, "train_steps": 280}
    specs = [
        spec("base-zero", "Base, zero-shot", "smollm2-135m"),
        spec("base-two", "Base, two-shot", "smollm2-135m", shots=2),
        spec("sft", "SFT", "demo-sft", **trained),
        spec("sft-chosen", "SFT + chosen (control)", "demo-sft-chosen", **more),
        spec("dpo", "DPO", "demo-dpo", **more),
    ]
    arms = [arm(rng, one, [*test, *hand], skill[one.id], hardness) for one in specs]
    sampling = {"greedy": False, "samples": 8, "temperature": 1.0}
    arms += [
        arm(
            rng,
            spec(f"{name}-t1", f"{title}, T = 1", f"demo-{name}", **sampling, **trained),
            test[:60],
            chance,
            hardness,
        )
        for name, title, chance in (("sft", "SFT", 0.6), ("dpo", "DPO", 0.66))
    ]
    chosen = [
        PromotionCandidate(
            arm_id=one.id,
            model=one.model,
            eligible=one.id != "sft-chosen",
            rows=arm(rng, one, selection, skill[one.id], hardness).rows,
        )
        for one in specs[2:]
    ]
    return ReportInput(
        job_id="job_01k8x4demo",
        job_name="main-demo",
        examples={one.example_id: one for one in [*test, *hand, *selection]},
        arms=arms,
        candidates=chosen,
        pairs=PairStats(
            questions=800, samples_per_question=8, temperature=1.0, pairs=563, on_policy=True, weak_model="demo-sft",
            verdicts={"correct": 3710, "wrong": 1890, "error": 611, "unextractable": 120, "both_empty": 69},
            excluded={"all_correct": 131, "none_correct": 92, "both_empty": 9, "repeated": 5},
            profile=ErrorProfile(
                outcomes=[profile_line("ok", answers=5600, correct=3710, wrong=1890)],
                features=[profile_line("set_operation", answers=40, correct=9, wrong=20, error=9, timeout=2)],
            ),
            shape=make_shape(),
        ),
        rounds=[
            round_facts(1, "demo-sft", pairs=563, steps=80, selection_correct=21, kept=True),
            round_facts(2, "dpo", pairs=311, steps=44, selection_correct=27, kept=True, best=True),
            round_facts(3, "dpo.r2", pairs=5, selection_questions=0),
        ],
        wave=WaveFacts(
            weak_model="demo-sft.weak", answers=384, failed=190, written=800, followed=731, accepted=780,
            lines=[
                WaveLine(name="set_operation", answers=40, failed=31, weight=0.7, written=402),
                WaveLine(name="many_joins", answers=88, failed=60, weight=0.3, written=240),
                WaveLine(name="order", answers=100, failed=33, weight=0.0, written=190),
            ],
        ),
        data=DataStats(
            writer="grammar", writer_version="grammar/1", requested=2400, accepted=2000,
            rejected={"empty_result": 210, "duplicate": 122, "constant_result": 51, "benchmark_leak": 17},
            levels={"easy": 610, "medium": 790, "hard": 600},
            train_domains=[f"training domain {k}" for k in range(4, 40)],
            selection_domains=[f"training domain {k}" for k in range(4)], test_domains=DOMAINS,
        ),
        training=[
            TrainingFacts(
                stage_id=name, method=method, rows=rows, steps=steps, final_loss=low, seconds=seconds,
                curve=[(k, low + (high - low) * 0.97**k + rng.uniform(-0.03, 0.03)) for k in range(1, steps + 1, 2)],
            )
            for name, method, rows, steps, seconds, high, low in (
                ("sft", "sft", 1600, 200, 161.2, 2.1, 0.21),
                ("sft.chosen", "sft on chosen", 563, 80, 66.0, 0.35, 0.16),
                ("dpo", "dpo", 563, 80, 133.9, 0.69, 0.48),
            )
        ],
        timeline=make_timeline(),
        environment={
            "torch": "2.13.0", "trl": "1.16.0", "python": "3.11.9", "cores": 2, "prompt": "create-select-3/1",
            "sample_rows": 3, "seeds": {"data": 7, "sft": 1, "dpo": 1}, "sqlite": "3.54.0",
        },
    )  # fmt: skip


def make_shape() -> PairShape:
    """Histograms of pairs."""
    distances, chosen, rejected = (
        bin_values([[k * k * step // 40 + floor for k in range(80)]])[0] for step, floor in ((9, 1), (12, 24), (14, 24))
    )
    return PairShape(distances=distances, chosen=chosen, rejected=rejected[: len(chosen)])


def round_facts(number: int, began_from: str, **changes: object) -> RoundFacts:
    """A round of the report's table."""
    fields: dict[str, object] = {
        "number": number, "arm_id": "dpo" if number == 1 else f"dpo.r{number}", "began_from": began_from,
        "questions": 800, "samples": 6400, "right_samples": 3710, "pairs": 0, "minimum": 8, "steps": 0,
        "selection_correct": 0, "selection_questions": 60, "kept": False, "best": False,
    }  # fmt: skip
    return RoundFacts.model_validate(fields | changes)


def make_timeline(origin: float = 1_700_000_000.0) -> list[StageSpan]:
    """Writing and verifying side by side, then SFT, sampling, judging, DPO and evaluation."""
    plan = [
        ("synthesis", "synthesis.write_examples", 12, 0.0, 3.4, 1.1),
        ("verification", "sandbox.verify_examples", 12, 1.6, 3.3, 1.2),
        ("collect", "synthesis.collect", 1, 17.2, 1.2, 0.0),
        ("sft", "training.train_model", 1, 19.0, 161.2, 0.0),
        ("sampling", "pairing.sample_candidates", 10, 184.0, 11.8, 11.9),
        ("judging", "sandbox.judge_candidates", 10, 196.1, 4.2, 11.9),
        ("pairs", "pairing.build_pairs", 1, 309.0, 1.4, 0.0),
        ("sft.chosen", "training.train_model", 1, 311.0, 66.0, 0.0),
        ("dpo", "training.train_model", 1, 378.0, 133.9, 0.0),
        ("answers", "evaluation.answer_questions", 14, 513.0, 9.0, 9.1),
        ("score", "evaluation.score", 1, 641.0, 3.0, 0.0),
    ]
    stages = []
    for name, task, shards, start, length, stride in plan:
        spans = [
            ShardSpan(shard=k, start=origin + start + k * stride, end=origin + start + k * stride + length)
            for k in range(shards)
        ]
        stages.append(
            StageSpan(
                stage_id=name, task=task, shards=shards, first_start=spans[0].start, last_end=spans[-1].end,
                busy_seconds=shards * length, spans=spans,
            )
        )  # fmt: skip
    return stages
