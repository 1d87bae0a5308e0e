"""The model that a stage of choice has recorded, for stages whose plan could not name it."""

from shared.contracts.records import RoundScore
from shared.contracts.refs import StageRef
from shared.errors import NotFoundError
from shared.tasks.shard import Shard


def best_round(shard: Shard, choice: StageRef) -> RoundScore:
    """The best model of a choice. Raises `NotFoundError` where the stage has left none."""
    for line in shard.stage_rows(choice, "choice", RoundScore):
        if line.best:
            return line
    raise NotFoundError(f"stage {choice.stage} has chosen no model; did it end?")


def model_of(shard: Shard, choice: StageRef | None, named: str) -> str:
    """The chosen model, or the one that the command names where nothing was to be chosen."""
    return named if choice is None else best_round(shard, choice).model
