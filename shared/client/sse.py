"""Reads server-sent events (WHATWG HTML, section 9.2): only what the gateway sends."""

from collections.abc import Iterable, Iterator

from shared.client.models import JobEvent


def read_events(lines: Iterable[str]) -> Iterator[JobEvent]:
    """The events of a stream's lines; comments and `retry` are passed over, an event cut off at the end too."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield JobEvent.model_validate_json("\n".join(data))
            data = []
