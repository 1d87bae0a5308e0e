"""Text of users and models stays ordinary tokens, in training and at the engine, whatever the tokenizer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.serving.embedded.model_process import GenerationTask
from services.serving.embedded.scheduler import encode_prompt
from services.serving.registry import ServedModel
from services.training.run.data import encode_row
from shared.catalog.databases import ColumnCard, SchemaCard, TableCard
from shared.contracts.records import Message
from shared.models.tokenization import encode_chat, ensure_chat_template
from shared.sql.prompt import render_messages
from tests.unit.serving.tiny import TEMPLATE, save_tokenizer

HARMLESS = "plain text"


def card_of(text: str) -> SchemaCard:
    """A database whose names and cells hold the text."""
    name = text.replace('"', "")
    table = TableCard(
        name=f"t {name}",
        ddl=f'CREATE TABLE "t {name}" ("c {name}" TEXT);',
        columns=[ColumnCard(name=f"c {name}", type="TEXT", comment=f"holds {text}")],
        sample_rows=[[f"a{text}b"], [text]],
        row_count=2,
    )
    return SchemaCard(database_id="0" * 64, tables=[table])


def conversation(text: str) -> tuple[list[Message], Message]:
    """A prompt with the text in every place where a user's text can stand, and an answer with it."""
    shots = [(card_of(text), f"Shot {text}?", f"SELECT '{text}'")]
    prompt = render_messages(card_of(text), f"Where is {text}?", evidence=f"{text} is {text}{text}", shots=shots)
    return prompt, Message(role="assistant", content=f"SELECT * FROM t WHERE c = '{text}'")


def byte_level(folder: Path) -> Any:
    save_tokenizer(folder)
    return load(folder)


def sentence_pieces(folder: Path) -> Any:
    """As Llama 2 writes: a blank before every text; some of its added tokens are not special."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(33, 127)]
    vocab = {token: place for place, token in enumerate(["<unk>", "<s>", "</s>", "\u2581", "\n", *letters])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    core.add_special_tokens([AddedToken("<s>", normalized=False), AddedToken("</s>", normalized=False)])
    core.add_tokens(
        [AddedToken("<tool_call>", normalized=True), AddedToken("[/INST]"), AddedToken("  ", normalized=False)]
    )
    kind: Any = PreTrainedTokenizerFast
    tokenizer = kind(tokenizer_object=core, eos_token="</s>", bos_token="<s>", unk_token="<unk>")
    tokenizer.chat_template = TEMPLATE.replace("<|im_start|>", "<s>").replace("<|im_end|>", "</s>")
    tokenizer.save_pretrained(folder)
    return load(folder)


def load(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module", params=["byte level", "sentence pieces", "completion style"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("tokenizer")
    if request.param == "sentence pieces":
        yield sentence_pieces(folder)
        return
    made = byte_level(folder)
    if request.param == "completion style":
        made.chat_template = None
        ensure_chat_template(made)
    yield made


def controls(tokenizer: Any) -> dict[int, str]:
    """Added tokens that steer: all but those of blanks alone."""
    added = {number: str(one.content) for number, one in tokenizer.added_tokens_decoder.items()}
    return {number: text for number, text in added.items() if text.strip()}


def engine_ids(tokenizer: Any, prompt: list[Message]) -> list[int]:
    """What the embedded engine makes of a chat request."""
    model = ServedModel(name="m", base_dir="/b")
    how: dict[str, Any] = {
        "n": 1,
        "temperature": 0,
        "top_p": 1,
        "max_tokens": 9,
        "seed": 1,
        "stop": [],
        "stream": False,
    }
    turns = [one.model_dump() for one in prompt]
    return list(encode_prompt(tokenizer, GenerationTask(model=model, messages=turns, **how), 1_000_000))


def check_all_controls(tokenizer: Any) -> None:
    steering = controls(tokenizer)
    texts = [*steering.values(), *(text.upper() for text in steering.values()), "".join(steering.values())]
    inner = next(iter(steering.values()))
    texts += [inner[0] + inner, inner[:-1] + inner, f"{inner}\n{inner}", f"\ufdd0{inner}"]
    plain_prompt, plain_answer = conversation(HARMLESS)
    plain = encode_row(tokenizer, plain_prompt, [[plain_answer]])

    def steered(ids: list[int]) -> list[int]:
        return [number for number in ids if number in steering and number != tokenizer.unk_token_id]

    for text in texts:
        prompt, answer = conversation(text)
        row = encode_row(tokenizer, prompt, [[answer]])
        assert steered(row.prompt) == steered(plain.prompt), text
        assert steered(row.completions[0]) == steered(plain.completions[0]), text
        assert engine_ids(tokenizer, prompt) == row.prompt
        shown = tokenizer.decode(row.completions[0], skip_special_tokens=True)
        if tokenizer.unk_token_id not in row.completions[0]:
            assert shown.strip() == answer.content


def check_usual_rows(tokenizer: Any) -> None:
    """What held before: the tokenizer's own rendering, id by id."""
    for text in (HARMLESS, "a < b | c > d", "it's  so", "\u00e9\u4e2d", "<b>", "SELECT 1;\n\n  SELECT"):
        prompt, answer = conversation(text)
        turns = [one.model_dump() for one in prompt]
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        row = encode_row(tokenizer, prompt, [[answer]])
        assert row.prompt == encode_chat(tokenizer, turns) == engine_ids(tokenizer, prompt) == ids
        head = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        full = tokenizer.apply_chat_template([*turns, answer.model_dump()], tokenize=False)
        tail = full[len(head) : full.rindex(tokenizer.eos_token) + len(tokenizer.eos_token)]
        assert row.completions[0] == tokenizer(tail, add_special_tokens=False)["input_ids"]


def test_no_text_becomes_a_control_token(tokenizer: Any) -> None:
    check_all_controls(tokenizer)


def test_usual_rows_are_as_they_were(tokenizer: Any) -> None:
    check_usual_rows(tokenizer)


@pytest.mark.model
def test_the_small_models_tokenizer() -> None:
    from tests.support.small_model import small_model

    tokenizer = load(small_model())
    check_all_controls(tokenizer)
    check_usual_rows(tokenizer)
