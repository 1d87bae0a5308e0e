"""Runs the Lua steps: text in, text out, and nothing else knows how they are called."""

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
    """A step's text behind the common prelude."""
    return (FOLDER / "prelude.lua").read_text() + (FOLDER / f"{name}.lua").read_text()


class NotLeaderError(SenseError):
    """Another orchestrator has taken over: the step changed nothing, and this one must stop at once."""

    code = "not_leader"


class Steps:
    """Every script registered once a client; `run` adds the key prefix.

    `fence` is the key of the orchestrators' lease and the token that must stand in it, where the caller is an
    orchestrator: Redis refuses the step of one that was paused and has been replaced meanwhile.
    """

    def __init__(self, client: RedisClient, prefix: str) -> None:
        self.client = client
        self.prefix = prefix
        self.scripts: dict[str, Script] = {}
        self.fence: list[str] = []

    def run(self, name: str, *args: str | int | float) -> Any:
        """Calls step `name`. Raises `UnavailableError` when Redis does not answer, `NotLeaderError` behind a fence."""
        script = self.scripts.get(name)
        if script is None:
            script = self.scripts[name] = self.client.register_script(script_source(name))
        try:
            with redis_errors():
                return script(keys=self.fence, args=[self.prefix, *args])
        except redis.ResponseError as error:
            if "FENCED" in str(error):
                raise NotLeaderError("another orchestrator has taken over") from error
            raise
