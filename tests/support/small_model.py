"""The small model as the product converts it: once a clone, into the clone's own state."""

from pathlib import Path

from shared.models.bases import resolve_base

REF = "builtin:smollm2-135m"
MODELS = Path(__file__).parents[2] / ".sense" / "models"


def small_model() -> Path:
    """Its Hugging Face folder; the first caller of a fresh clone waits half a minute for the real conversion."""
    return resolve_base(REF, MODELS)
