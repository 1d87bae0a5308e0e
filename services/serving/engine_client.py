"""How workers, which hold no torch and no weights, control an engine over HTTP."""

from typing import Any, NoReturn

import httpx

from services.serving.registry import ServedModel
from shared.errors import ConflictError, InvalidInputError, NotFoundError, SenseError, UnavailableError
from shared.http.client import internal_headers

ERROR_TYPES: dict[int, type[SenseError]] = {404: NotFoundError, 409: ConflictError, 422: InvalidInputError}


class EngineClient:
    """A client of the embedded engine or the front before vLLM at `base_url`, without /v1.

    Every call raises UnavailableError if the engine does not answer.
    """

    def __init__(self, base_url: str, *, timeout_s: float = 840.0) -> None:
        self._base_url = base_url.rstrip("/")
        self._http = httpx.Client(
            base_url=self._base_url,
            headers=internal_headers(),
            # a load of large weights takes minutes; the default stays below the 900 s of a deploy task
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            trust_env=False,
        )

    def load(self, name: str, base_dir: str, adapter_dir: str | None = None) -> ServedModel:
        """Serves a model under an immutable name: the same folders again do nothing, others raise ConflictError.

        Raises NotFoundError or InvalidInputError for bad folders.
        """
        body = {"name": name, "base_dir": base_dir, "adapter_dir": adapter_dir}
        return ServedModel.model_validate(self._call("POST", "/admin/models", body))

    def unload(self, name: str) -> None:
        """Raises NotFoundError if the name is not served."""
        self._call("DELETE", f"/admin/models/{name}")

    def release(self) -> None:
        """Frees the memory of all weights. Names stay and are loaded again on the next request."""
        self._call("POST", "/admin/release", {})

    def models(self) -> list[str]:
        return sorted(model["id"] for model in self._call("GET", "/v1/models")["data"])

    def healthy(self) -> bool:
        try:
            return bool(self._call("GET", "/health")["status"] == "ok")
        except SenseError:
            return False

    def close(self) -> None:
        self._http.close()

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"The engine at {self._base_url} does not answer ({type(error).__name__}): "
                "start it, or see its log for why it stopped."
            ) from error
        if answer.is_error:
            self._refuse(answer)
        return answer.json()

    def _refuse(self, answer: httpx.Response) -> NoReturn:
        try:
            error = answer.json()["error"]
            message, code = str(error["message"]), str(error["code"])
        except (ValueError, KeyError, TypeError):
            message = f"The engine at {self._base_url} answered {answer.status_code} without saying why."
            code = "engine_error"
        raise ERROR_TYPES.get(answer.status_code, UnavailableError)(message, code=code)
