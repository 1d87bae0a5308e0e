"""Runs the Lua steps: text in, text out, and nothing else knows how they are called."""

from typing import Any

from redis.commands.core import Script

from shared.jobs.connect import Client, redis_errors
from shared.jobs.scripts import source


class Steps:
    """Every script registered once a client; `run` adds the key prefix."""

    def __init__(self, client: Client, prefix: str) -> None:
        self.client = client
        self.prefix = prefix
        self.scripts: dict[str, Script] = {}

    def run(self, name: str, *args: str | int | float) -> Any:
        """Calls step `name`. Raises `UnavailableError` when Redis does not answer."""
        script = self.scripts.get(name)
        if script is None:
            script = self.scripts[name] = self.client.register_script(source(name))
        with redis_errors():
            return script(keys=[], args=[self.prefix, *args])
