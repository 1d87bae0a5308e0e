"""What the contracts say of presets and built-in bases is what training and models say."""

from pathlib import Path

import yaml

from services.training import config
from shared.contracts.spec import BUILTIN_BASES
from shared.contracts.training import FULL_WEIGHT_PRESETS, PRESET_LENGTHS
from shared.models.builtin import BUILTIN_MODELS

PRESETS = Path(config.__file__).parent / "presets"


def test_lengths_of_dpo_by_preset() -> None:
    found = {path.stem: yaml.safe_load(path.read_text())["dpo"]["max_length"] for path in PRESETS.glob("*.yaml")}
    assert found == PRESET_LENGTHS


def test_presets_that_train_all_weights_in_several_processes() -> None:
    for name in PRESET_LENGTHS:
        recipe = config.load_preset(name).sft
        assert (recipe.mode == "full", recipe.launch != "single") == (name in FULL_WEIGHT_PRESETS,) * 2, name


def test_built_in_bases() -> None:
    assert set(BUILTIN_BASES) == set(BUILTIN_MODELS)
