"""Named recipes, one YAML file each: `sft`, `dpo` and `control` (more SFT from the same adapter)."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from services.training.config import Recipe
from shared.errors import InvalidInputError

FOLDER = Path(__file__).parent


class Preset(BaseModel):
    """The recipes of the three training arms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sft: Recipe
    dpo: Recipe
    control: Recipe


def preset_names() -> list[str]:
    """All presets, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_preset(name: str) -> Preset:
    """The preset called `name`; raises `InvalidInputError` with the known names."""
    if name not in preset_names():
        raise InvalidInputError(f"There is no training preset {name!r}; there is: {', '.join(preset_names())}.")
    return Preset.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))
