"""Tokens and requests a second of the embedded engine, against batched `generate` on the same prompts.

    python -m tests.bench.bench_engine [MODEL_DIR] [--requests 96] [--levels 1,16,48] [--no-baseline] [--no-adapters]

Each request is a schema of about 250 tokens (four schemas) with a question, answered greedily with up to 25 tokens;
the level is how many are in flight. Then an adapter alone, and two adapters in turn, 16 in flight. The baseline is
`generate` in bfloat16 with batches of 16, left-padded. What the gateway adds: `tests/bench/bench_proxy.py`.
"""

import argparse
import itertools
import os
import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.unit.serving.engine_process import EngineProcess

MODEL = Path(__file__).parents[2] / ".sense/models/smollm2-135m"
SYSTEM = "Answer with one SQLite query and nothing else."
TOPICS = ["song", "river", "planet", "recipe"]
ANSWER = 25  # tokens


def make_questions(count: int) -> list[list[dict[str, str]]]:
    rng = random.Random(1)
    asked = []
    for place in range(count):
        topic = TOPICS[place * len(TOPICS) // count]
        schema = "\n".join(
            f"CREATE TABLE {topic}_{part} (id INTEGER PRIMARY KEY, name TEXT, {topic}_id INTEGER, size REAL);\n"
            f"/* first rows:\nid | name | {topic}_id | size\n1 | first {topic} | 3 | 2.5\n*/"
            for part in ("main", "owner", "place")
        )
        verb = rng.choice(["List the names of", "How many are", "Show all", "What is the largest of"])
        question = f"Question: {verb} {topic}s with a size above {rng.randint(1, 999)}?"
        asked.append([{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"{schema}\n{question}"}])
    return asked


def make_adapter(base: Path, folder: Path, seed: int) -> Path:
    """A small random change of the model: it costs what a trained one of its rank costs."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=16, target_modules=targets))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.002)
    model.save_pretrained(str(folder))
    return folder


def measure(
    engine: EngineProcess, questions: list[list[dict[str, str]]], level: int, models: tuple[str, ...] = ("m",)
) -> tuple[int, float]:
    """Tokens written and seconds; the questions go to the models in turn."""
    turns = itertools.cycle(models)

    def ask(messages: list[dict[str, str]]) -> int:
        answer = engine.openai.chat.completions.create(
            model=next(turns),
            messages=messages,  # type: ignore[arg-type]
            temperature=0,
            max_tokens=ANSWER,
        )
        return answer.usage.completion_tokens if answer.usage else 0

    start = time.perf_counter()
    with ThreadPoolExecutor(level) as pool:
        tokens = sum(pool.map(ask, questions))
    return tokens, time.perf_counter() - start


def baseline(folder: Path, questions: list[list[dict[str, str]]]) -> tuple[int, float]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    texts = [tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False) for asked in questions]
    tokens, start = 0, time.perf_counter()
    for first in range(0, len(texts), 16):
        batch = tokenizer(texts[first : first + 16], return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            out = model.generate(**batch, max_new_tokens=ANSWER, do_sample=False)
        tokens += int((out[:, batch["input_ids"].shape[1] :] != tokenizer.pad_token_id).sum())
    return tokens, time.perf_counter() - start


def with_adapters(engine: EngineProcess, base: Path, folder: Path, questions: list[list[dict[str, str]]]) -> None:
    """One adapter, and two whose requests come mixed; fresh prefixes as for the base."""
    for number, name in enumerate(("one", "two")):
        engine.engine.load(name, str(base), str(make_adapter(base, folder / name, number)))
        measure(engine, [[{"role": "user", "content": "Hi"}]], 1, (name,))
    say("an adapter, 16 in flight", len(questions), *measure(engine, questions, 16, ("one",)))
    say("two in turn, 16 in flight", len(questions), *measure(engine, questions, 16, ("one", "two")))


def say(what: str, requests: int, tokens: int, seconds: float) -> None:
    load = os.getloadavg()[0]
    line = f"{what:<28} {requests:>4} requests {tokens / seconds:8.1f} tokens/s {requests / seconds:7.2f} requests/s"
    print(f"{line}   (machine load {load:.1f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=MODEL)
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--levels", default="1,16,48")
    parser.add_argument("--no-baseline", action="store_true")
    parser.add_argument("--no-adapters", action="store_true")
    given = parser.parse_args()
    questions = make_questions(given.requests)
    with tempfile.TemporaryDirectory() as state:
        engine = EngineProcess(Path(state))
        try:
            engine.engine.load("m", str(given.model.resolve()))
            measure(engine, make_questions(4)[:1], 1)
            for level in [int(text) for text in given.levels.split(",")]:
                engine.engine.unload("m")  # no prefix is left over from the level before
                engine.engine.load("m", str(given.model.resolve()))
                measure(engine, [[{"role": "user", "content": "Hi"}]], 1)
                asked = questions[:: max(1, 16 // level)] if level < 16 else questions
                say(f"engine, {level} in flight", len(asked), *measure(engine, asked, level))
            if not given.no_adapters:
                with_adapters(engine, given.model.resolve(), Path(state), questions)
        finally:
            engine.stop()
    if not given.no_baseline:
        asked = questions[:: max(1, len(questions) // 32)]
        say("generate, batches of 16", len(asked), *baseline(given.model, asked))


if __name__ == "__main__":
    main()
