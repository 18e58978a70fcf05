"""Blocking work beside an event loop, in threads that end with it: a loop's own pool would outlive `map`."""

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any


async def in_thread(work: Callable[[], Any]) -> Any:
    """Run a function in a thread of its own and return what it returns, or raise what it raises."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def tell(outcome: Any, *, failed: bool) -> None:
        if not done.done():
            (done.set_exception if failed else done.set_result)(outcome)

    def run() -> None:
        try:
            outcome, failed = work(), False
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            outcome, failed = error, True
        loop.call_soon_threadsafe(functools.partial(tell, outcome, failed=failed))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        return await done
    finally:
        thread.join()
