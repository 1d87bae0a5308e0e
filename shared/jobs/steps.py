"""Runs the Lua scripts of the job store, one file for each step."""

from functools import cache
from pathlib import Path
from typing import Any

import redis
from redis.commands.core import Script

from shared.errors import SenseError
from shared.redis import RedisClient, redis_errors

FOLDER = Path(__file__).parent / "scripts"


@cache
def script_source(name: str) -> str:
    return (FOLDER / "prelude.lua").read_text() + (FOLDER / f"{name}.lua").read_text()


class NotLeaderError(SenseError):
    """Another orchestrator leads. The step changed nothing, and the caller must stop at once."""

    code = "not_leader"


class Steps:
    """Registers each script once and adds the key prefix to each call.

    For an orchestrator, `fence` is the key of the leader's lease and the token that it must hold. Redis then refuses
    the steps of an orchestrator that was paused and has been replaced.
    """

    def __init__(self, client: RedisClient, prefix: str) -> None:
        self.client = client
        self.prefix = prefix
        self.scripts: dict[str, Script] = {}
        self.fence: list[str] = []

    def run(self, name: str, *args: str | int | float) -> Any:
        """Raises `UnavailableError` if Redis does not answer, `NotLeaderError` if the fence refuses the step."""
        script = self.scripts.get(name)
        if script is None:
            script = self.scripts[name] = self.client.register_script(script_source(name))
        try:
            with redis_errors():
                return script(keys=self.fence, args=[self.prefix, *args])
        except redis.ResponseError as error:
            # the word that `prelude.lua` puts into its error
            if "FENCED" in str(error):
                raise NotLeaderError("another orchestrator has taken over") from error
            raise
