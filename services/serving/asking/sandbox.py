"""The sandbox's HTTP service as the question answerer calls it."""

from collections.abc import Sequence

import httpx

from shared.client.internal import patience, sandbox_at
from shared.client.sandbox_models import Run, RunAnswer, RunRequest, ScriptAnswer, ScriptRequest
from shared.http.slots import CALLER_HEADER

AROUND_S = 30.0  # waiting for a slot, fetching the database
STATEMENT_S = 2.0  # what the sandbox allows a statement where the caller names nothing
BUILD_S = 30.0
JSON = {"Content-Type": "application/json"}


class Sandbox:
    """One sandbox service at `url`."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http, self._service = http, sandbox_at(url)

    async def run(
        self, database_id: str, sqls: Sequence[str], deadline_s: float | None, max_rows: int | None, caller: str = ""
    ) -> list[Run]:
        """What each SQL did, in their order. Raises RefusedError, UnavailableError."""
        asked = RunRequest(database_id=database_id, sqls=list(sqls), deadline_s=deadline_s, max_rows=max_rows)
        seconds = (deadline_s or STATEMENT_S) * len(sqls) + AROUND_S
        answer = await self._post("/runs", asked.model_dump_json(), seconds, caller)
        return RunAnswer.model_validate_json(answer.content).runs

    async def build(self, ddl: str, caller: str = "") -> ScriptAnswer:
        """A stored database of this script. Raises RefusedError (code invalid_ddl), UnavailableError."""
        answer = await self._post("/scripts", ScriptRequest(ddl=ddl).model_dump_json(), BUILD_S, caller)
        return ScriptAnswer.model_validate_json(answer.content)

    async def _post(self, path: str, body: str, seconds: float, caller: str) -> httpx.Response:
        url, headers = self._service.root + path, {**JSON, CALLER_HEADER: caller}
        call = self._http.post(url, content=body, headers=headers, timeout=patience(seconds))
        return await self._service.answered(call)
