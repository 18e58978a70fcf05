"""Servers that speak OpenAI's completions: raw prompts to `/v1/completions`, chats to `/v1/chat/completions`."""

import functools
import json
import os
import urllib.request
from typing import Any

import aiohttp

from instag_hf.engines import Request, http, number
from instag_hf.errors import EngineError, InputError, RefusedError, Unreachable
from instag_hf.replies import Reply

DEFAULT_LIMIT = 256
RETRYABLE = frozenset({424, 429, 500, 502, 503, 504})
OF_REQUEST = frozenset({424, 500})
REFUSED = frozenset({400, 413, 422})


class OpenAIEngine:
    """A client of one server.

    Args:
        url: The server's root, with or without `/v1`.
        key: Sent as a bearer token; `None` sends none, so that no token of the user reaches a strange server.
        limit: Requests in flight at once.
        read_timeout_s: Seconds without a byte until a request counts as broken; waiting for a slot does not count.
    """

    def __init__(
        self, url: str, *, key: str | None = None, limit: int = DEFAULT_LIMIT, read_timeout_s: float = 300.0
    ) -> None:
        """Keep where to ask; nothing is sent yet."""
        self.url = url.rstrip("/").removesuffix("/v1")
        self.limit = limit
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=30.0, sock_read=read_timeout_s)

    async def complete(self, request: Request) -> Reply:
        """Complete one request, once; raises as `Engine.complete` says."""
        raw = isinstance(request.prompt, str)
        body = await self._post("/v1/completions" if raw else "/v1/chat/completions", _body(request))
        try:
            choice = body["choices"][0]
            text = choice["text"] if raw else choice["message"]["content"]
            reason = "length" if choice.get("finish_reason") == "length" else "stop"
            usage = body.get("usage") or {}
            return Reply(text or "", reason, int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0)))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise EngineError(f"{self.url}: expected a completion, found {str(body)[:200]!r}.") from error

    async def alive(self) -> bool:
        """Whether the server answers at all, whatever it says."""
        try:
            async with http().get(self.url + "/health", timeout=aiohttp.ClientTimeout(total=10.0)):
                return True
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def describe(self) -> dict[str, str]:
        """Name the kind and the address; the key stays out."""
        return {"engine": "openai", "url": self.url}

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        try:
            async with http().post(self.url + path, json=body, headers=self._headers, timeout=self._timeout) as answer:
                if answer.status != 200:
                    raise _failure(self.url, answer.status, await answer.text(), answer.headers.get("Retry-After"))
                return await answer.json(content_type=None)
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(f"{self.url}: nobody listens.") from error
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise EngineError(f"{self.url}: the connection broke ({type(error).__name__}).", retryable=True) from error
        except ValueError as error:
            raise EngineError(f"{self.url}: expected JSON, found something else.") from error


def openai_engine() -> OpenAIEngine:
    """Make the engine that `INSTAG_URL`, `INSTAG_API_KEY` and `INSTAG_CONCURRENCY` describe.

    Raises:
        InputError: `INSTAG_URL` is no address, or `INSTAG_CONCURRENCY` no number above 0.
    """
    url = os.environ.get("INSTAG_URL", "")
    if not url.startswith(("http://", "https://")):
        raise InputError(
            f"engine openai: expected an address such as http://127.0.0.1:8000/v1 in INSTAG_URL, found {url!r}."
        )
    limit = number("INSTAG_CONCURRENCY", DEFAULT_LIMIT)
    if limit < 1:
        raise InputError(f"INSTAG_CONCURRENCY: expected at least 1 request at once, found {limit:g}.")
    return _engine(url, os.environ.get("INSTAG_API_KEY"), int(limit))


def served_models() -> list[str]:
    """Ask the server at `INSTAG_URL` which models it serves; an empty list if it cannot say."""
    try:
        engine = openai_engine()
        request = urllib.request.Request(engine.url + "/v1/models", headers=engine._headers)
        with urllib.request.urlopen(request, timeout=5.0) as answer:
            return [str(model["id"]) for model in json.load(answer)["data"]]
    except (InputError, OSError, ValueError, KeyError, TypeError):
        return []


@functools.lru_cache
def _engine(url: str, key: str | None, limit: int) -> OpenAIEngine:
    """Keep one engine for one place, because its slots are counted by engine."""
    return OpenAIEngine(url, key=key, limit=limit)


def _body(request: Request) -> dict[str, Any]:
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if isinstance(request.prompt, str):
        return {**body, "prompt": request.prompt}
    return {**body, "messages": [message._asdict() for message in request.prompt]}


def _failure(url: str, status: int, text: str, retry_after: str | None) -> EngineError | RefusedError:
    if status in REFUSED:
        return RefusedError(f"status {status}: {text[:200]}")
    if status in RETRYABLE:
        wait_s = float(retry_after) if retry_after and retry_after.isdigit() else None
        return EngineError(
            f"{url}: status {status}: {text[:200]}",
            retryable=True,
            retry_after_s=wait_s,
            of_request=status in OF_REQUEST,
        )
    hint = {401: " Set INSTAG_API_KEY.", 403: " Check INSTAG_API_KEY.", 404: " Check INSTAG_URL and INSTAG_MODEL."}
    return EngineError(f"{url}: status {status}: {text[:200]}.{hint.get(status, '')}")
