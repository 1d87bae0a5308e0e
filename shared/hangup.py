"""Work for a caller who may hang up: then it ends at once, and so does what it asked of others."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

Result = TypeVar("Result")


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The work's result. Call it once the body is read. Raises ClientDisconnect where the caller left before."""
    task, leaving = asyncio.create_task(work), asyncio.create_task(gone(request))
    try:
        await asyncio.wait([task, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for one in (task, leaving):
            one.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def gone(request: Request) -> None:
    """Returns when the caller has hung up; after the body the server says nothing else."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
