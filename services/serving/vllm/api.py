"""vLLM's own addresses as the front calls them: adapters in and out, and the golden marks."""

from typing import Any, NoReturn

import httpx

from services.serving.golden import TEXT
from shared.errors import ConflictError, InvalidInputError, NotFoundError, SenseError, UnavailableError

CALL_S = 120.0


class VllmApi:
    """Calls over one client; `url` is given each time, because the server may move."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def load(self, url: str, name: str, adapter_dir: str) -> None:
        """Raises InvalidInputError, NotFoundError, ConflictError or UnavailableError with vLLM's own reason."""
        await self._post(url, "/v1/load_lora_adapter", {"lora_name": name, "lora_path": adapter_dir}, name)

    async def unload(self, url: str, name: str) -> None:
        """Nothing where it is not loaded."""
        try:
            await self._post(url, "/v1/unload_lora_adapter", {"lora_name": name}, name)
        except NotFoundError:
            return

    async def marks(self, url: str, name: str) -> list[float]:
        """Log-probabilities of the golden text's tokens, after the first."""
        body = {"model": name, "prompt": TEXT, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
        said = (await self._post(url, "/v1/completions", {**body, "add_special_tokens": False}, name)).json()
        try:
            return [round(next(iter(one.values()))["logprob"], 6) for one in said["choices"][0]["prompt_logprobs"][1:]]
        except (KeyError, TypeError, StopIteration, IndexError) as error:
            raise UnavailableError(
                f"vLLM gave no prompt_logprobs for '{name}'; its version is not known here"
            ) from error

    async def _post(self, url: str, path: str, body: dict[str, Any], name: str) -> httpx.Response:
        try:
            answer = await self._http.post(url + path, json=body, timeout=CALL_S)
        except httpx.HTTPError as error:
            message = f"vLLM does not answer ({type(error).__name__}) while '{name}' is loaded or checked"
            raise UnavailableError(message, code="engine_died") from error
        if answer.is_error:
            refuse(answer, path, name)
        return answer


def refuse(answer: httpx.Response, path: str, name: str) -> NoReturn:
    """vLLM's refusal as ours. A 404 of the address itself means that a setting is missing."""
    message = said_error(answer).get("message") or f"{answer.status_code} without a reason"
    if answer.status_code == 404 and "detail" in answer.text and "lora" in path:
        raise InvalidInputError(
            f"vLLM takes no adapters at run time: start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True ({path} is 404)"
        )
    kinds: dict[int, type[SenseError]] = {
        404: NotFoundError,
        400: ConflictError if "already" in message else InvalidInputError,
    }
    if "max_lora_rank" in message or "rank" in message:
        raise InvalidInputError(f"vLLM refuses the adapter '{name}': {message}", code="lora_rank")
    raise kinds.get(answer.status_code, InvalidInputError)(f"vLLM refuses '{name}': {message}", code="engine_refused")


def said_error(answer: httpx.Response) -> dict[str, Any]:
    """OpenAI's error member, in either of the forms that vLLM versions use."""
    try:
        said = answer.json()
    except ValueError:
        return {}
    error = said.get("error", said) if isinstance(said, dict) else {}
    return dict(error) if isinstance(error, dict) else {"message": str(error)}
