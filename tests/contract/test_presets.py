"""What the contracts say of the training presets is what the presets say."""

from pathlib import Path

import yaml

from services.training import config
from shared.contracts.training import PRESET_LENGTHS

PRESETS = Path(config.__file__).parent / "presets"


def test_lengths_of_dpo_by_preset() -> None:
    found = {path.stem: yaml.safe_load(path.read_text())["dpo"]["max_length"] for path in PRESETS.glob("*.yaml")}
    assert found == PRESET_LENGTHS
