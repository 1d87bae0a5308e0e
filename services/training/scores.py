"""Execution accuracy while training runs: what the training process and its supervisor tell each other, as files.

The process writes its answers to `scores/STEP.answers.json` and waits; the supervisor runs them in the sandbox and
leaves `scores/STEP.score.json`. Both are written whole or not at all. Imports no torch.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from shared import files
from shared.contracts.records import Message

BEST_FOLDER = "best"
SCORE_FILE = "score.json"


class SelectionQuestion(BaseModel):
    """A question of the selection split as the model is asked it, and what is right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    database_id: str
    gold: str
    prompt: list[Message]


class SelectionScore(BaseModel):
    """How many of the questions an answer was right for, after so many optimizer steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    correct: int
    questions: int

    @property
    def accuracy(self) -> float:
        """Share of the questions."""
        return self.correct / self.questions

    def beats(self, other: "SelectionScore | None") -> bool:
        """A tie goes to the later one: more was learned at no loss."""
        return other is None or self.correct >= other.correct


QUESTIONS = TypeAdapter(list[SelectionQuestion])
ANSWERS = TypeAdapter(dict[str, str])


def answers_file(out_dir: Path, step: int) -> Path:
    """What the process wrote after a step: question id -> text."""
    return out_dir / "scores" / f"{step}.answers.json"


def score_file(out_dir: Path, step: int) -> Path:
    """What the supervisor found; empty where it could not tell."""
    return out_dir / "scores" / f"{step}.score.json"


def write_file(path: Path, content: bytes) -> None:
    """Appears with all of its bytes, in a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(path, [content])
