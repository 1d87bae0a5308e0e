"""The sandbox's HTTP service as the question answerer calls it."""

from collections.abc import Sequence

import httpx

from shared.client.sandbox_models import Run, RunAnswer, RunRequest, ScriptAnswer, ScriptRequest
from shared.errors import SenseError, UnavailableError

AROUND_S = 30.0  # waiting for a slot, fetching the database
STATEMENT_S = 2.0  # what the sandbox allows a statement where the caller names nothing
BUILD_S = 30.0


class SandboxRefusedError(SenseError):
    """What the sandbox refused, with its status."""

    def __init__(self, answer: httpx.Response) -> None:
        try:
            said = answer.json()
            code, message = str(said["code"]), str(said["message"])
        except (ValueError, KeyError, TypeError):
            code, message = "sandbox_error", f"the sandbox answered {answer.status_code} without saying why"
        super().__init__(message, code=code, retryable=answer.status_code == 503)
        self.http_status = answer.status_code


class Sandbox:
    """One sandbox service at `url`."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http, self._url = http, url.rstrip("/")

    async def run(
        self, database_id: str, sqls: Sequence[str], deadline_s: float | None, max_rows: int | None
    ) -> list[Run]:
        """What each SQL did, in their order. Raises SandboxRefusedError, UnavailableError."""
        asked = RunRequest(database_id=database_id, sqls=list(sqls), deadline_s=deadline_s, max_rows=max_rows)
        patience = (deadline_s or STATEMENT_S) * len(sqls) + AROUND_S
        answer = await self._post("/runs", asked.model_dump_json(), patience)
        return RunAnswer.model_validate_json(answer.content).runs

    async def build(self, ddl: str) -> ScriptAnswer:
        """A stored database of this script. Raises SandboxRefusedError (code invalid_ddl), UnavailableError."""
        answer = await self._post("/scripts", ScriptRequest(ddl=ddl).model_dump_json(), BUILD_S)
        return ScriptAnswer.model_validate_json(answer.content)

    async def _post(self, path: str, body: str, patience: float) -> httpx.Response:
        timeout = httpx.Timeout(patience, connect=5.0)
        headers = {"Content-Type": "application/json"}
        try:
            answer = await self._http.post(self._url + path, content=body, headers=headers, timeout=timeout)
        except httpx.HTTPError as error:
            message = f"the sandbox at {self._url} does not answer ({type(error).__name__}); see: sense status"
            raise UnavailableError(message, code="sandbox_unavailable") from error
        if answer.is_error:
            raise SandboxRefusedError(answer)
        return answer
