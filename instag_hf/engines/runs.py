"""Many questions to one model as one run: all at once, none left behind, and over when most replies are failures."""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from instag_hf.engines import max_failures, session
from instag_hf.errors import EngineError

WINDOW = 200  # replies over which failures are watched

Item = TypeVar("Item")
Result = TypeVar("Result")


async def ask_each(
    items: Sequence[Item],
    one: Callable[[Item], Awaitable[Result]],
    *,
    who: str,
    failure: Callable[[Result], str],
    on_result: Callable[[Result], None] | None = None,
    window: int = WINDOW,
) -> list[Result]:
    """Work on all items at once, and end the run when most of the last results are failures.

    Args:
        items: What to work on.
        one: Asks for one item; it returns failures of the item itself and raises those of the run.
        who: Whose replies they are, for the message.
        failure: Why a result is none, as `kind: sentence`; "" for a good one.
        on_result: Told every result as it comes.
        window: Results over which failures are watched.

    Returns:
        The results in the items' order.

    Raises:
        EngineError: More than `INSTAG_MAX_FAILURES` of the last results are failures, or whatever `one` raises.
    """
    recent: deque[str] = deque(maxlen=window)

    async def watched(item: Item) -> Result:
        result = await one(item)
        if on_result is not None:
            on_result(result)
        recent.append(failure(result))
        if told := mostly_failed(recent, window, "replies"):
            last = next(each for each in reversed(recent) if each)
            raise EngineError(
                f"{who}: {told}, the last for: {last}. Choose a model that follows instructions. "
                "INSTAG_MAX_FAILURES is the share that may fail, 0 to 1. What was answered is kept."
            )
        return result

    async with session():
        return await together(map(watched, items))


async def together(works: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Do all at once and return the results in order; when one fails the run is over, and no other outlives it."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def mostly_failed(recent: Sequence[str], window: int, what: str) -> str:
    """Say so where more than `INSTAG_MAX_FAILURES` of the last results are failures, and of which kinds.

    Then it is the wrong model, and the rest would cost for nothing.

    Args:
        recent: Each result's failure, as `kind: sentence` or its kind; "" for a good one.
        window: Results over which failures are watched; with fewer nothing is said.
        what: What the results are, in the plural.
    """
    kinds = Counter(failure.partition(":")[0] for failure in recent if failure)
    if len(recent) < window or kinds.total() <= max_failures() * window:
        return ""
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"{kinds.total()} of the last {window} {what} failed ({told})"
