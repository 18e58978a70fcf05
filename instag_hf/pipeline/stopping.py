"""Ctrl-C in the middle of a map: an ordinary error of the rows under way, so that the run always ends."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, Self

from instag_hf.errors import Interrupted
from instag_hf.tagger import Columns, Row


class CtrlC:
    """Turns Ctrl-C into an ordinary error of the tasks under way; a second Ctrl-C acts at once.

    Raised in the middle of a loop, `KeyboardInterrupt` can lose a task's next step. That task never ends, and neither
    does `datasets`, which waits for every task that it cancels.
    """

    def __init__(self) -> None:
        """Watch nothing yet."""
        self.pressed = False
        self.tasks: dict[asyncio.Task[Any], asyncio.AbstractEventLoop] = {}

    def __enter__(self) -> Self:
        in_main_thread = threading.current_thread() is threading.main_thread()
        self.before = signal.getsignal(signal.SIGINT)
        self.listens = in_main_thread and self.before is signal.default_int_handler
        if self.listens:
            signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.listens:
            signal.signal(signal.SIGINT, self.before)
        if self.pressed and kind is None:  # pressed when no row was under way any more
            raise Interrupted("stopped by Ctrl-C")

    def watch(self, work: Callable[[Row], Awaitable[Columns]]) -> Callable[[Row], Awaitable[Columns]]:
        """Let a coroutine function raise `Interrupted` as soon as Ctrl-C is pressed."""

        async def interruptible(row: Row) -> Columns:
            task = asyncio.current_task()
            if task is None or self.pressed:
                raise Interrupted("stopped by Ctrl-C")
            self.tasks[task] = asyncio.get_running_loop()
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # `map` looks at the first only
            try:
                return await work(row)
            except asyncio.CancelledError:
                if self.pressed:
                    raise Interrupted("stopped by Ctrl-C") from None
                raise
            finally:
                del self.tasks[task]

        return interruptible

    def _press(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, self.before)
        self.pressed = True
        for task, loop in self.tasks.items():
            loop.call_soon_threadsafe(task.cancel)
