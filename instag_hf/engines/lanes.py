"""How much one engine has in flight, and in which order.

The limit follows the server: it halves when the server says that it has too much to do, and grows back by one for every
round of replies.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from instag_hf.errors import InstagError

if TYPE_CHECKING:
    from instag_hf.engines import Engine, Request

CALM_S = 1.0  # how long after a cut the limit is not cut again: one burst of refusals is one sign


class Slots:
    """Places for requests in flight, in the order of asking; but who asks again goes before all who wait.

    Otherwise the second request of a row would stand behind a thousand first ones, and `map` yields rows in order.
    """

    def __init__(self, limit: int) -> None:
        """Begin with `limit` places, which is also the most there will be."""
        self.most = self.limit = limit
        self.taken = 0
        self.replies = 0  # in all
        self.waiting: deque[asyncio.Future[None]] = deque()
        self._round = 0
        self._cut_at = -CALM_S

    def resize(self, limit: int) -> None:
        """Have at most so many places from now on."""
        self.most = self.limit = limit
        self._let_in()

    def shrink(self) -> None:
        """Halve the places, at most once in a while."""
        now = time.monotonic()
        if now - self._cut_at >= CALM_S:
            self._cut_at = now
            self.limit = max(1, self.limit // 2)
            self._round = 0

    def went_well(self) -> None:
        """Count a reply; a whole round of them earns a place back."""
        self.replies += 1
        if self.limit < self.most:
            self._round += 1
            if self._round >= self.limit:
                self.limit, self._round = self.limit + 1, 0
                self._let_in()

    @contextlib.asynccontextmanager
    async def one(self, *, again: bool) -> AsyncIterator[None]:
        """Hold a place for the length of a block."""
        if self.taken < self.limit and not self.waiting:
            self.taken += 1
        else:
            await self._wait(again)
        try:
            yield
        finally:
            self.taken -= 1
            self._let_in()

    async def _wait(self, again: bool) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self.waiting.appendleft if again else self.waiting.append)(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with contextlib.suppress(ValueError):  # taken out already, by whoever left before
                    self.waiting.remove(turn)
            else:  # the place had been given, but its owner is gone
                self.taken -= 1
                self._let_in()
            raise

    def _let_in(self) -> None:
        while self.waiting and self.taken < self.limit:
            turn = self.waiting.popleft()
            if not turn.done():
                self.taken += 1
                turn.set_result(None)


class Lane:
    """What one engine can take: slots for requests, a gate that shuts while nobody listens, and why the run stops."""

    def __init__(self, engine: "Engine") -> None:
        """Begin with the engine's own limit."""
        self.slots = Slots(engine.limit)
        self.gate = asyncio.Lock()
        self.given_up: InstagError | None = None
        self.ready = False

    async def prepare(self, engine: "Engine", request: "Request") -> None:
        """Let the engine look at its server, once, and take its limit from what it saw."""
        async with self.gate:
            if not self.ready:
                await engine.prepare(request)
                self.slots.resize(engine.limit)
                self.ready = True
