"""Event loops that are not ours: those of `Dataset.map`, of Jupyter, of a caller."""

import asyncio
import itertools
import weakref
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from instag_hf.errors import InputError

T = TypeVar("T")

# The calls under way in each loop, in the order they began; the future of one is set when it may return.
_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[object, asyncio.Future[None] | None]] = (
    weakref.WeakKeyDictionary()
)


async def in_turn(work: Awaitable[T]) -> T:
    """Finish after all calls that began before this one, and at once with those after it that are done.

    While its oldest row is not done but a later one is, `map` goes round without a pause, a whole core's worth, which
    an embedded engine then lacks. Rows that finish in their order never let it.
    """
    loop = asyncio.get_running_loop()
    turns = _turns.setdefault(loop, {})
    me = object()
    turns[me] = None  # still at work
    try:
        result = await work
        if next(iter(turns)) is not me:
            turns[me] = mine = loop.create_future()
            await mine
        return result
    finally:
        turns.pop(me, None)
        _let_go(turns)


def _let_go(turns: dict[object, asyncio.Future[None] | None]) -> None:
    for me, waits in list(itertools.takewhile(lambda turn: turn[1] is not None, turns.items())):
        del turns[me]
        if waits is not None and not waits.done():
            waits.set_result(None)


def allow_nested_loop() -> None:
    """Let the running loop, if there is one, be run again from inside, as `map` does in Jupyter.

    Raises:
        InputError: It is a loop that cannot.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    import nest_asyncio2

    try:
        nest_asyncio2.apply(loop)
    except ValueError as error:
        raise InputError(
            f"tag: expected an asyncio event loop, found {type(loop).__module__}.{type(loop).__name__}, "
            "inside which map cannot run a coroutine. Take tag = instag.tag before the loop starts and give map "
            "num_proc=1, or run map in a thread with asyncio.to_thread."
        ) from error


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also where a loop is running."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    allow_nested_loop()
    return loop.run_until_complete(work)
