"""Request in, reply out; `ask` is the one way to ask anything of a model.

An engine knows how to complete one request on one kind of server. All that must be right for every engine stands here
once: look up the store, join an equal request in flight, wait for a slot, complete, retry, write, return.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import logging
import math
import os
import random
import socket
import time
import weakref
from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from instag_hf.engines.lanes import Lane
from instag_hf.errors import EngineError, InputError, InstagError, RefusedError, RowFailure, Unreachable
from instag_hf.prompts import Prompt
from instag_hf.replies import Reply, Store
from instag_hf.rows import clean

KINDS = ("embedded", "openai", "tgi", "local", "text_generation")
TRIES = 5
MAX_DELAY_S = 30.0

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a reply is drawn: greedy at temperature 0; lengths in tokens; `seed` counts only above temperature 0."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        """Write equal settings in one way, since a frozen request is found by its hash.

        Raises:
            InputError: A number no server can draw by, or stop strings that are none.
        """
        for name, number in {"max_tokens": self.max_tokens, "seed": 0 if self.seed is None else self.seed}.items():
            if not isinstance(number, int) or isinstance(number, bool):
                raise InputError(f"sampling: expected a whole number as {name}, found {number!r}.")
        if self.max_tokens < 1:
            raise InputError(f"sampling: expected max_tokens of at least 1, found {self.max_tokens}.")
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"sampling: expected a temperature of at least 0, found {self.temperature}.")
        if not 0 < self.top_p <= 1:
            raise InputError(f"sampling: expected a top_p above 0 and at most 1, found {self.top_p}.")
        if isinstance(self.stop, str) or "" in self.stop:
            raise InputError(f"sampling: expected stop strings such as ('###',), found {self.stop!r}.")
        one_way = {"stop": tuple(self.stop), "temperature": float(self.temperature), "top_p": float(self.top_p)}
        for name, value in one_way.items():
            object.__setattr__(self, name, value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """All that decides a reply, and nothing about where it is asked."""

    prompt: Prompt
    model: str
    revision: str
    sampling: Sampling
    grammar: str | None = None
    adapter: str | None = None

    @property
    def key(self) -> str:
        """SHA-256 of the request, the name of its reply in the store."""
        facts = [self.prompt, self.model, self.revision, vars(self.sampling), self.grammar, self.adapter]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@runtime_checkable
class Engine(Protocol):
    """What a server must offer to be asked."""

    limit: int  # requests in flight at once

    async def prepare(self, request: Request) -> None:
        """Look at the server once before the first request: what it is, whether it has the model, what it takes.

        Raises:
            Unreachable: Nobody listens.
            EngineError: It cannot answer requests like this one.
        """

    async def complete(self, request: Request) -> Reply:
        """Complete one request, once.

        Raises:
            RefusedError: This request will never be completed.
            Unreachable: Nobody listens.
            EngineError: Anything else; `retryable` says whether to try again.
        """

    async def alive(self) -> bool:
        """Whether somebody listens."""

    def describe(self) -> dict[str, str]:
        """Name the engine and where it runs, for messages; never its key."""


def connect(kind: str, model: str, context_tokens: int, revision: str = "") -> Engine:
    """Make the engine of a kind for a model, with its address, key and limits from the `INSTAG_*` variables.

    Args:
        kind: One of `KINDS`.
        model: The model, as the engine calls it.
        context_tokens: The longest prompt and reply together, for an engine that makes room for them itself.
        revision: Which version of the model, for an engine that loads it itself; of a file its hash.

    Raises:
        InputError: There is no such kind, or a variable it needs is not set or holds what it cannot.
    """
    max_failures()
    if kind == "embedded":
        from instag_hf.engines.embedded import embedded_engine

        return embedded_engine(model, context_tokens, revision)
    if kind == "openai":
        from instag_hf.engines.openai import openai_engine

        return openai_engine()
    if kind == "tgi":
        from instag_hf.engines.tgi import tgi_engine

        return tgi_engine()
    if kind == "local":
        from instag_hf.engines.local import local_engine

        return local_engine(model, revision)
    if kind == "text_generation":
        from instag_hf.engines.text_generation import text_generation_engine

        return text_generation_engine()
    raise InputError(f"engine: expected one of {list(KINDS)}, found {kind!r}.")


class _Traffic:
    """What is under way in one event loop: requests that can be joined, an engine's lane, and the one HTTP session."""

    def __init__(self) -> None:
        self.running = 0
        self.flights: dict[str, asyncio.Future[Reply]] = {}
        self.lanes: weakref.WeakKeyDictionary[Engine, Lane] = weakref.WeakKeyDictionary()
        self.session: aiohttp.ClientSession | None = None

    def lane(self, engine: Engine) -> Lane:
        if engine not in self.lanes:
            self.lanes[engine] = Lane(engine)
        return self.lanes[engine]

    async def leave(self) -> None:
        """Close the session with the last request: `datasets` tells nobody when a map is over."""
        self.running -= 1
        if not self.running:
            self.lanes.clear()
            session, self.session = self.session, None
            if session is not None:
                await session.close()


# A session belongs to one loop of one process; a forked child runs loops of its own.
_traffic: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Traffic] = weakref.WeakKeyDictionary()


def _here() -> _Traffic:
    loop = asyncio.get_running_loop()
    if loop not in _traffic:
        _traffic[loop] = _Traffic()
    return _traffic[loop]


class _Resolver(AbstractResolver):
    """Looks names up in the loop itself: aiohttp's own way leaves a thread behind in a loop that nobody closes."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=0)
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        pass


def http() -> aiohttp.ClientSession:
    """Return the running loop's HTTP session. Slots bound what is in flight, so the session itself bounds nothing."""
    here = _here()
    if here.session is None or here.session.closed:
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, resolver=_Resolver())
        here.session = aiohttp.ClientSession(connector=connector)
    return here.session


@contextlib.asynccontextmanager
async def session() -> AsyncIterator[None]:
    """Keep the running loop's HTTP session open for a block that asks a server more than once."""
    here = _here()
    here.running += 1
    try:
        yield
    finally:
        await here.leave()


async def ask(engine: Engine, request: Request, store: Store, *, again: bool = False) -> Reply:
    """Answer a request from the store, from an equal request in flight, or from the engine.

    Args:
        engine: Whom to ask.
        request: What to ask.
        store: Where replies are kept.
        again: Whether the same row asked before, so that it need not wait behind those that did not.

    Raises:
        RefusedError: The engine will never complete this request.
        EngineError: The engine cannot answer, after retries, or after `INSTAG_PATIENCE` seconds without anybody
            listening.
        StoreError: The store cannot be used.
    """
    key = request.key
    here = _here()
    while (reply := store.get(key)) is None:
        flight = here.flights.get(key)
        if flight is None:
            return await _ask_engine(engine, request, store, here, again)
        await asyncio.wait([flight])
        if not flight.cancelled():  # its owner went away; this one asks itself
            return flight.result()
    return reply


async def _ask_engine(engine: Engine, request: Request, store: Store, here: _Traffic, again: bool) -> Reply:
    key = request.key
    flight = here.flights[key] = asyncio.get_running_loop().create_future()
    here.running += 1
    lane = here.lane(engine)
    try:
        reply = await _persist(engine, request, store, lane, again)
    except BaseException as error:
        if isinstance(error, InstagError) and not isinstance(error, RowFailure):
            lane.given_up = error  # the run stops, but `map` may not see it before older rows are through
        if isinstance(error, InstagError):
            flight.set_exception(error)
            flight.exception()  # seen, so that asyncio does not complain when nobody joined
        else:
            flight.cancel()
        raise
    else:
        flight.set_result(reply)
        return reply
    finally:
        del here.flights[key]
        await here.leave()


async def _persist(engine: Engine, request: Request, store: Store, lane: Lane, again: bool) -> Reply:
    """Try until there is a reply, waiting as long as the kind of failure deserves."""
    tries, replies = 0, lane.slots.replies
    while True:
        try:
            return await _try(engine, request, store, lane, again or tries > 0)
        except Unreachable as error:
            if await _wait_until_back(engine, error, lane):
                continue
            tries += 1  # the engine says that it is there, and yet nobody is
            if tries == TRIES:
                raise
            await asyncio.sleep(_delay_s(tries, None))
        except EngineError as error:
            before, replies = replies, lane.slots.replies
            others_pass = replies > before  # since the last failure: the engine works, this request alone has no luck
            tries = 1 if error.overloaded and others_pass else tries + 1  # a server with a full load serves all in turn
            if error.overloaded:
                lane.slots.shrink()
            if not error.retryable or (tries == TRIES and not error.of_request and not others_pass):
                raise
            if tries == TRIES:
                raise RefusedError(f"failed {tries} times: {error.what}") from error
            logger.info("%s; trying again", error)
            await asyncio.sleep(_delay_s(tries, error.retry_after_s))


async def _try(engine: Engine, request: Request, store: Store, lane: Lane, again: bool) -> Reply:
    """Complete a request once, unless another process of this machine does: then wait for its reply in the store."""
    key = request.key
    delay_s = 0.05
    if not lane.ready:
        await lane.prepare(engine, request)
    while True:
        async with lane.slots.one(again=again):
            if lane.given_up:
                raise lane.given_up
            if store.claim(key):
                try:
                    reply = store.get(key)  # it may have come from another process while this request waited
                    if reply is None:
                        reply = await engine.complete(request)
                        reply = reply._replace(text=clean(reply.text))  # JSON may hold what SQLite refuses
                        lane.slots.went_well()
                        store.put(key, reply, request.model)
                    return reply
                finally:
                    store.release(key)
        await asyncio.sleep(delay_s)
        delay_s, again = min(1.0, 2 * delay_s), True


def _delay_s(tries: int, asked_s: float | None) -> float:
    """Back off exponentially with jitter, so that the rows of a run do not come back all at once."""
    return max(asked_s or 0.0, min(MAX_DELAY_S, 0.5 * 2.0**tries) * random.uniform(0.5, 1.0))


async def _wait_until_back(engine: Engine, error: Unreachable, lane: Lane) -> bool:
    """Pause the run while the engine is away: one request looks for it, the others wait for its word.

    Returns:
        Whether there was anything to wait for.
    """
    patience_s = env_number("INSTAG_PATIENCE", 60.0)
    waited = lane.gate.locked()
    async with lane.gate:
        deadline = time.monotonic() + patience_s
        while not lane.given_up and not await engine.alive():
            waited = True
            if time.monotonic() >= deadline:
                lane.given_up = EngineError(
                    f"{error} Waited {patience_s:g} s (INSTAG_PATIENCE). Start the engine and run the same line "
                    "again: it goes on where it stopped."
                )
            await asyncio.sleep(min(1.0, patience_s / 4))
        if lane.given_up:
            raise lane.given_up from error
    return waited


def max_failures() -> float:
    """Read `INSTAG_MAX_FAILURES`, the share of the last results that may be failures before a run stops.

    Raises:
        InputError: It is no number from 0 to 1.
    """
    share = env_number("INSTAG_MAX_FAILURES", 0.5)
    if not 0 <= share <= 1:
        raise InputError(f"INSTAG_MAX_FAILURES: expected a share from 0 to 1, found {share:g}.")
    return share


def env_number(variable: str, default: float) -> float:
    """Read a number from an environment variable.

    Raises:
        InputError: The variable holds no number.
    """
    value = os.environ.get(variable)
    try:
        number = float(value) if value else default
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{variable}: expected a number, found {value!r}.")
    return number
