"""The LLM writer: the paper's prompt, two random seed examples a call, one example an answer."""

import hashlib
import random
from collections.abc import Mapping
from pathlib import Path

from services.synthesis.parse import UnparsableError, parse_answer
from services.synthesis.seeds import draw_seeds, seed_name, show_seed
from shared.contracts.records import Level, Message, Provenance, Rejected, Split, Written
from shared.contracts.synthesis import WriteExamples
from shared.llm.ask import stable_seed
from shared.llm.messages import ChatAnswer, ChatRequest

PROMPT_VERSION = "strong-v1"
PROMPT = Path(__file__).parent / "prompts" / f"{PROMPT_VERSION}.md"
LEVELS: tuple[Level, ...] = ("easy", "medium", "hard")


def share_levels(levels: Mapping[Level, float], count: int) -> list[Level]:
    """`count` levels in the wanted shares, by largest remainder, evenly mixed."""
    total = sum(levels.values())
    given: dict[Level, int] = dict.fromkeys(LEVELS, 0)
    result: list[Level] = []
    for place in range(1, count + 1):
        behind = {name: levels.get(name, 0.0) / total * place - given[name] for name in LEVELS if levels.get(name)}
        name = max(behind, key=lambda key: behind[key])
        given[name] += 1
        result.append(name)
    return result


def make_request(
    command: WriteExamples, place: int, level: Level, wish: str = ""
) -> tuple[ChatRequest, list[str], str]:
    """The call for one example: the request, the names of its seeds, the hash of its prompt. `wish` ends the prompt."""
    rng = random.Random(stable_seed(command.seed, command.split, command.shard, place))
    seeds = draw_seeds(rng)
    examples = "\n\n".join(show_seed(seed) for seed in seeds)
    taken = ", ".join(sorted({seed.domain for seed in seeds}))
    text = PROMPT.read_text().format(level=level, taken=taken, examples=examples) + wish
    request = ChatRequest(
        model=command.model or "",
        messages=[Message(role="user", content=text)],
        temperature=command.temperature,
        max_tokens=command.max_tokens,
        seed=rng.randrange(2**31),
        slot=command.shard * 100_000 + place,
    )
    return request, [seed_name(seed) for seed in seeds], hashlib.sha256(text.encode()).hexdigest()[:16]


def read_answer(
    answer: ChatAnswer, *, level: Level, split: Split, seed: int, model: str, seeds: list[str], prompt_hash: str
) -> Written | Rejected:
    """The example in an answer, or why there is none; the answer itself stays under its key."""
    provenance = Provenance(
        writer="llm",
        writer_version=PROMPT_VERSION,
        seed=seed,
        source=answer.key,
        model=model,
        prompt_hash=prompt_hash,
        seed_examples=seeds,
    )
    blank = {"split": split, "level": level, "provenance": provenance}
    try:
        parsed = parse_answer(answer.texts[0])
    except UnparsableError as error:
        empty = Written.model_validate({"domain": "", "question": "", "sql": "", **blank})
        return Rejected(reason="unparsable_answer", detail=str(error), written=empty)
    return Written.model_validate(
        {
            "domain": parsed.domain,
            "question": parsed.question,
            "sql": parsed.sql,
            "database": parsed.script,
            **blank,
        }
    )
