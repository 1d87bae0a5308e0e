"""Messages between the HTTP process and its child: one JSON object a line, over the child's stdin and stdout.

To the child:   {"do": "chat", "id": 7, "chat": {...}}, {"do": "cancel", "id": 7}, {"do": "unload", "name": "m"},
                {"do": "load", "id": 8, "model": {...}}
From the child: {"event": "ready"}, {"event": "memory", "models": [...]},
                {"event": "text", "id": 7, "index": 0, "text": "SEL"}       (only where the request streams)
                {"event": "done", "id": 7, "choices": [...], "prompt_tokens": 9, "completion_tokens": 4}
                {"event": "loaded", "id": 8, "golden": {...}}
                {"event": "error", "id": 7, "status": 422, "code": "...", "message": "..."}
"""

from pydantic import BaseModel

from services.serving.golden import Golden
from services.serving.protocol import ServedModel


class ChatTask(BaseModel):
    """A checked request with every default filled in; `model` says where its weights are.

    With `prompt` that text is continued as it stands; else `messages` go through the chat template. `golden`: what a
    fresh load of the model has to show.
    """

    model: ServedModel
    golden: Golden | None = None
    messages: list[dict[str, str]]
    prompt: str | None = None
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
