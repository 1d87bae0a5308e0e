"""Completion style: how a base without a chat template reads the same messages, in training and in serving.

The style is a chat template like any other, so that one code path renders both and the trained model's folder carries
it: turns are plain text, one below the other, and the answer follows a last line `SQL:`.
"""

from typing import Any

COMPLETION_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ 'SQL:\n' + message['content'] + eos_token + '\n' }}"
    "{% else %}{{ message['content'] + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'SQL:\n' }}{% endif %}"
)


def ensure_template(tokenizer: Any) -> bool:
    """Gives a tokenizer without a chat template the completion style; whether it did."""
    if tokenizer.chat_template:
        return False
    tokenizer.chat_template = COMPLETION_TEMPLATE
    return True
