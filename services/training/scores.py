"""Execution accuracy during training: the files that the training process and its supervisor exchange.

The process writes its answers to `scores/STEP.answers.json` and waits. The supervisor runs them in the sandbox and
writes `scores/STEP.score.json`. Both files appear complete or not at all. Imports no torch.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from shared import files
from shared.contracts.records import Message

BEST_FOLDER = "best"
SCORE_FILE = "score.json"


class SelectionQuestion(BaseModel):
    """A question of the selection split: the prompt, and the gold that decides whether an answer is right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    database_id: str
    gold: str
    prompt: list[Message]


class SelectionScore(BaseModel):
    """How many of the questions were answered correctly after `step` optimizer steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    correct: int
    questions: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.questions

    def beats(self, other: "SelectionScore | None") -> bool:
        """A tie goes to the later score: the model has seen more data and answers no worse."""
        return other is None or self.correct >= other.correct


QUESTIONS = TypeAdapter(list[SelectionQuestion])
ANSWERS = TypeAdapter(dict[str, str])


def answers_file(out_dir: Path, step: int) -> Path:
    return out_dir / "scores" / f"{step}.answers.json"


def score_file(out_dir: Path, step: int) -> Path:
    """Written by the supervisor; empty if it could not score the answers."""
    return out_dir / "scores" / f"{step}.score.json"


def write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(path, [content])
