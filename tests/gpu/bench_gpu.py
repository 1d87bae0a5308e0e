"""SFT and DPO on all of Spider train with a GPU: tokens a second, peak memory, execution accuracy on Spider dev.

    make bench-gpu        # or: python -m tests.gpu.bench_gpu [--out DIR] [--questions 7000] [--samples 8] …

The small model is trained on every question of Spider train, sampled on the same questions, paired (one right answer
against one wrong one a question, by official execution), trained by DPO and, for the control, by SFT on the same chosen
answers for as many steps. Base, SFT, control and DPO answer the 1,034 dev questions greedily; `sense evaluate` scores
them officially. Prints a Markdown table and leaves everything in --out.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.sandbox.building.databases import make_card
from services.training.config import TrainConfig
from services.training.merge import merge_adapter, read_trained_adapter
from services.training.supervisor import RunStatus, TrainingProcess
from shared.catalog.databases import SchemaCard
from shared.contracts.records import DpoRecord, Message, SftRecord
from shared.sql.prompt import render_messages
from tests.bench.training_data import write
from tests.gpu.answers import Answerer, official_scores
from tests.support.benchmarks import DATA, read_json, spider_database
from tests.support.small_model import REF, small_model

SPIDER = DATA / "spider"
RECIPE: dict[str, Any] = {
    "batch_size": 16,
    "max_length": 2048,
    "epochs": 3,
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "bf16": True,
    "save_minutes": 5,
    "seed": 7,
}
PREFERENCE: dict[str, Any] = {"epochs": 1, "batch_size": 8, "gradient_accumulation": 2, "beta": 0.1}


CARDS: dict[str, SchemaCard] = {}


class Question:
    """A question of Spider with its prompt and its line of a gold file."""

    def __init__(self, row: dict[str, Any], number: int) -> None:
        self.database, self.gold, self.number = row["db_id"], " ".join(row["query"].split()), number
        if self.database not in CARDS:
            CARDS[self.database] = make_card(spider_database(self.database), self.database)
        self.prompt = render_messages(CARDS[self.database], row["question"])

    @property
    def line(self) -> str:
        return f"{self.gold}\t{self.database}"

    def sft(self, answer: str) -> SftRecord:
        """A training row with this answer."""
        return SftRecord(
            prompt=self.prompt,
            completion=[Message(role="assistant", content=answer)],
            example_id=str(self.number),
            database_id=self.database,
            domain=self.database,
            level="easy",
            writer="spider",
        )


def load(file: str, most: int) -> list[Question]:
    """The first questions of a Spider file whose database is here, drawn by seed where fewer are wanted."""
    rows = [row for row in read_json(f"spider/{file}") if spider_database(row["db_id"]).exists()]
    if most < len(rows):
        rows = random.Random(7).sample(rows, most)
    return [Question(row, number) for number, row in enumerate(rows)]


def train(
    out: Path, name: str, method: str, rows: "Sequence[SftRecord | DpoRecord]", base: Path, **more: Any
) -> TrainConfig:
    """A supervised run to its end. Raises what it ended with."""
    data = write(out / f"{name}.jsonl", list(rows))  # type: ignore[arg-type]
    files = {"base_dir": base, "base_name": REF, "data": data, "out_dir": out / name, "name": name}
    config = TrainConfig.model_validate({**RECIPE, **files, "method": method, **more})
    run = TrainingProcess(config)
    run.start()
    if run.wait().status is not RunStatus.FINISHED:
        raise run.error()
    return config


def build_pairs(questions: Sequence[Question], samples: list[list[str]], right: list[list[int]]) -> list[DpoRecord]:
    """One pair a question that has right and wrong answers, drawn by seed."""
    pairs = []
    for index, question in enumerate(questions):
        rng = random.Random(index)
        good = sorted({said[index] for said, ex in zip(samples, right, strict=True) if ex[index]})
        bad = sorted({said[index] for said, ex in zip(samples, right, strict=True) if not ex[index]})
        if good and bad:
            base = question.sft(rng.choice(good)).model_dump()
            fields = {name: base[name] for name in ("prompt", "example_id", "database_id", "domain")}
            sides = {"chosen": base["completion"], "rejected": [{"role": "assistant", "content": rng.choice(bad)}]}
            lineage = {"source_model": "sft", "outcome_rejected": "ok", "verdict_rejected": "wrong"}
            pairs.append(DpoRecord.model_validate({**fields, **sides, **lineage}))
    return pairs


def main() -> None:
    """Trains, answers, scores and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".sense/bench-gpu") / time.strftime("%Y%m%d-%H%M%S"))
    parser.add_argument("--base", type=Path, help="a base's folder in place of the small model")
    parser.add_argument("--questions", type=int, default=7000)
    parser.add_argument("--dev", type=int, default=1034)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--epochs", type=float, default=RECIPE["epochs"])
    parser.add_argument("--max-length", type=int, default=RECIPE["max_length"])
    parser.add_argument("--batch", type=int, default=128, help="prompts answered at once")
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    RECIPE["max_length"] = given.max_length
    out: Path = given.out.absolute()
    out.mkdir(parents=True)
    base = (given.base or small_model()).absolute()
    questions, dev = load("train_spider.min.json", given.questions), load("dev.json", given.dev)

    def answer(folder: Path, asked: Sequence[Question], name: str, seed: int, temperature: float) -> Any:
        answers = Answerer(folder, given.device, given.batch)
        said = answers.ask([one.prompt for one in asked], temperature=temperature, seed=seed)
        return said, official_scores(out, name, [one.line for one in asked], said, SPIDER)

    sft = train(out, "sft", "sft", [one.sft(one.gold) for one in questions], base, epochs=given.epochs)
    merged = merge_adapter(read_trained_adapter(sft.artefact_dir), base, REF, out / "sft-merged")
    drawn = [answer(merged, questions, f"sample-{n}", n, given.temperature) for n in range(given.samples)]
    pairs = build_pairs(questions, [said for said, _ in drawn], [right for _, right in drawn])
    arms: list[tuple[str, Path | None]] = [("base", None), ("sft", sft.artefact_dir)]
    if len(pairs) >= 2:
        more = {**PREFERENCE, "parent_adapter": sft.artefact_dir}
        dpo = train(out, "dpo", "dpo", pairs, base, **more, learning_rate=5e-5)
        chosen = [questions[int(pair.example_id)].sft(pair.chosen[0].content) for pair in pairs]
        control = train(out, "control", "sft", chosen, base, **more, learning_rate=1e-4)
        arms += [("control", control.artefact_dir), ("dpo", dpo.artefact_dir)]
    print(f"\n{len(questions)} training questions, {len(pairs)} pairs, {len(dev)} dev questions, {given.device}\n")
    print("| arm | rows | steps | tokens/s | peak memory, GiB | EX on dev, official |\n|---|---|---|---|---|---|")
    for name, artefact in arms:
        folder = base if artefact is None else out / f"{name}-merged"
        if artefact is not None and not folder.exists():
            merge_adapter(read_trained_adapter(artefact), base, REF, folder)
        right = answer(folder, dev, f"dev-{name}", 0, 0.0)[1]
        print(
            f"| {name} | {trained_cells(artefact)} | {100 * sum(right) / len(right):.1f} ({sum(right)}/{len(right)}) |"
        )


def trained_cells(artefact: Path | None) -> str:
    """Rows, steps, tokens a second and peak memory of a training; dashes for the base."""
    if artefact is None:
        return "– | – | – | –"
    facts = json.loads((artefact / "train.json").read_text())
    speed, memory = facts["tokens"] / facts["train_seconds"], facts["peak_memory_bytes"] / 2**30
    return f"{facts['data']['kept']} | {facts['steps']} | {speed:.0f} | {memory:.1f}"


if __name__ == "__main__":
    main()
