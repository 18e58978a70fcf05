"""Servers that speak OpenAI's completions: raw prompts to `/v1/completions`, chats to `/v1/chat/completions`."""

import functools
import http.client
import json
import os
import urllib.request
from typing import Any

from instag_hf.engines import Request
from instag_hf.engines.transport import HttpEngine, Place, place
from instag_hf.errors import EngineError, InputError
from instag_hf.parsing import TAG_LIST_REGEX, TAG_LIST_SCHEMA
from instag_hf.replies import Reply

SERVERS = ("auto", "vllm", "sglang", "llamacpp", "tgi", "ollama", "lmstudio", "transformers", "openai")

# Where a server tells what it is; asked in this order, since llama.cpp answers to several.
TELLING = (("/props", "llamacpp"), ("/get_model_info", "sglang"), ("/version", "vllm"), ("/api/version", "ollama"))


class _Here(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: urllib would take the key along, to whatever host."""

    def redirect_request(self, *_: Any) -> None:
        return None


class OpenAIEngine(HttpEngine):
    """A client of one server; `server` names its kind, and "auto" finds it when its dialect matters."""

    kind = "openai"

    def __init__(self, url: str, *, server: str = "auto", **options: Any) -> None:
        """Keep where to ask; nothing is sent yet."""
        super().__init__(url, **options)
        self.server = server

    async def prepare(self, request: Request) -> None:
        """Find the server's kind where a grammar is asked for; raises as `Engine.prepare` says."""
        if request.grammar and self.server == "auto":
            self.server = await self.detect()

    async def detect(self) -> str:
        """Find which kind of server this is, by where it tells about itself; "openai" if nowhere."""
        info = await self.get("/info")
        if isinstance(info, dict) and "router" in info:
            return "tgi"
        for path, server in TELLING:
            if isinstance(await self.get(path), dict):
                return server
        return "openai"

    async def complete(self, request: Request) -> Reply:
        """Complete one request, once; raises as `Engine.complete` says."""
        raw = isinstance(request.prompt, str)
        answer = await self.post("/v1/completions" if raw else "/v1/chat/completions", self._body(request))
        return self.read_choice(answer, request.sampling.stop)

    def _body(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": request.adapter or request.model,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if request.grammar:
            body |= self._grammar(raw=isinstance(request.prompt, str))
        if isinstance(request.prompt, str):
            return {**body, "prompt": request.prompt}
        return {**body, "messages": [message._asdict() for message in request.prompt]}

    def _grammar(self, *, raw: bool) -> dict[str, Any]:
        """Ask for a list of tags in the server's own dialect: another's is ignored in silence, or refused."""
        nested = {"type": "json_schema", "json_schema": {"name": "tags", "schema": TAG_LIST_SCHEMA}}
        dialects: dict[tuple[str, bool], dict[str, Any]] = {
            ("vllm", True): {"response_format": nested},
            ("vllm", False): {"response_format": nested},
            ("sglang", True): {"json_schema": json.dumps(TAG_LIST_SCHEMA)},
            ("sglang", False): {"response_format": nested},
            ("llamacpp", True): {"json_schema": TAG_LIST_SCHEMA},
            ("llamacpp", False): {"response_format": nested},
            ("ollama", False): {"response_format": nested},
            ("lmstudio", False): {"response_format": nested},
            ("tgi", False): {"response_format": {"type": "regex", "value": TAG_LIST_REGEX}},
        }
        if (self.server, raw) not in dialects:
            remedy = " Choose the engine tgi." if self.server == "tgi" else " Leave structured output off."
            raise EngineError(
                f"{self.shown}: a server of the kind {self.server!r} has no way to ask for structured output with "
                f"{'a raw prompt' if raw else 'a chat'}.{remedy} INSTAG_SERVER names the kind where it is not found."
            )
        return dialects[self.server, raw]


def openai_engine() -> OpenAIEngine:
    """Make the engine that `INSTAG_SERVER` and the variables of `place` describe.

    Raises:
        InputError: One of the variables holds what it cannot.
    """
    server = os.environ.get("INSTAG_SERVER") or "auto"
    if server not in SERVERS:
        raise InputError(f"INSTAG_SERVER: expected one of {list(SERVERS)}, found {server!r}.")
    return _engine(place("openai"), server)


def served_models() -> list[str]:
    """Ask the server at `INSTAG_URL` which models it serves; an empty list if it cannot say."""
    try:
        engine = openai_engine()
        request = urllib.request.Request(engine.at("/v1/models"), headers=engine._headers)
        proxies = {request.type: engine._proxy} if engine._proxy else {}
        way = urllib.request.build_opener(_Here, urllib.request.ProxyHandler(proxies))
        with way.open(request, timeout=5.0) as answer:
            return [str(model["id"]) for model in json.load(answer)["data"]]
    except (InputError, OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return []


@functools.lru_cache
def _engine(at: Place, server: str) -> OpenAIEngine:
    """Keep one engine for one place, because its slots are counted by engine."""
    return OpenAIEngine(**at._asdict(), server=server)
