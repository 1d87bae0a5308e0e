"""Messages between the HTTP process and its child: one JSON object a line, over the child's stdin and stdout.

To the child:   {"do": "chat", "id": 7, "chat": {...}}, {"do": "cancel", "id": 7}, {"do": "unload", "name": "m"}
From the child: {"event": "ready"}, {"event": "memory", "models": [...]},
                {"event": "text", "id": 7, "index": 0, "text": "SEL"}       (only where the request streams)
                {"event": "done", "id": 7, "choices": [...], "prompt_tokens": 9, "completion_tokens": 4}
                {"event": "error", "id": 7, "status": 422, "code": "...", "message": "..."}
"""

from pydantic import BaseModel

from services.serving.protocol import ServedModel


class ChatTask(BaseModel):
    """A checked chat request with every default filled in; `model` says where its weights are."""

    model: ServedModel
    messages: list[dict[str, str]]
    n: int
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    stop: list[str]
    stream: bool


class Choice(BaseModel):
    """One finished answer; `finish_reason` is `stop` or `length`."""

    index: int
    text: str
    finish_reason: str
