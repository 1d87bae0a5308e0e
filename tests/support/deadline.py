"""Calls that may never come back, in a child that is killed: `re` and C code do not listen to anything else."""

import multiprocessing
from collections.abc import Callable
from typing import Any


class StillRunningError(AssertionError):
    """The call was not back at its deadline."""


def within(seconds: float, work: Callable[..., Any], *given: Any) -> Any:
    """What `work(*given)` returns. Raises StillRunningError, or AssertionError with what it raised."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=answer, args=(sender, work, given), daemon=True)
    child.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise StillRunningError(f"{work} was not back after {seconds} s")
        good, found = receiver.recv()
    except EOFError:
        child.join(5)
        raise AssertionError(f"{work} ended its process: {child.exitcode}") from None
    finally:
        child.kill()
        child.join()
    assert good, found
    return found


def answer(sender: Any, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
    """In the child."""
    try:
        sender.send((True, work(*given)))
    except BaseException as error:
        sender.send((False, repr(error)[:2000]))
