"""The tagging server's own side, which runs in a process of its own; use `TaggingServer`."""

import asyncio
import hashlib
import json
import os
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web

WORDS = (
    *("explanation", "recipe request", "code generation", "translation", "poetry", "planning", "comparison"),
    *("summarization", "python", "history", "travel", "biology", "table format", "word limit", "role-play"),
    *("arithmetic", "proofreading", "definition", "humor", "ethics"),
)


def tags_of(prompt: str) -> list[str]:
    """Return one to five tags that depend on the prompt alone."""
    digest = hashlib.sha256(prompt.encode("utf-8", "replace")).digest()
    return list(dict.fromkeys(WORDS[byte % len(WORDS)] for byte in digest[1 : 2 + digest[0] % 5]))


def verdict_of(message: str) -> str | None:
    """Decide a case as a judge who is always right, if a tag fits a query just where it stands in its text.

    Returns `None` where the message is no case of `quality.Judge`.
    """
    try:
        case = json.loads(message)
    except ValueError:
        return None
    if not isinstance(case, dict) or set(case) not in ({"query", "tags"}, {"tag", "queries"}):
        return None
    items = case.get("tags") or case["queries"]
    pairs = {number: (case.get("tag", item), case.get("query", item)) for number, item in items.items()}
    return json.dumps({"wrong": [int(number) for number, (tag, query) in pairs.items() if tag not in query]})


PLAIN: dict[str, Any] = {"status": 200, "reply": None, "finish_reason": "stop", "headers": {}, "fault": ""}
MODEL = "stand-in"
SLOW_S = 60.0
CLOSED = ("GenerateRequest", "GenerateParameters", "CompatGenerateRequest", "ChatRequest", "CompletionRequest")
TGI_KINDS = {422: "validation", 424: "generation", 429: "overloaded", 500: "incomplete_generation", 503: "healthcheck"}


class Server:
    """Answers, as its rules tell, and counts."""

    def __init__(self, latency_s: float, slots: int, openapi: Path | None) -> None:
        """Begin without rules."""
        self.latency_s = latency_s
        self.slots = slots
        self.check = _validators(openapi) if openapi else {}
        self.draw = random.Random(0)
        self.rules: list[dict[str, Any]] = []
        self.invalid: list[str] = []
        self.answered: Counter[str] = Counter()
        self.requests = self.in_flight = self.peak = 0

    def app(self) -> web.Application:
        """Lay out the routes."""
        app = web.Application(client_max_size=64 * 1024**2)
        for path in ("/v1/completions", "/v1/chat/completions", "/generate", "/"):
            app.router.add_post(path, self.complete)
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/health", self.health)
        app.router.add_get("/info", self.info)
        app.router.add_post("/control/counts", self.counts)
        app.router.add_post("/control/rule", self.rule)
        return app

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer one request for a completion."""
        self.requests += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            body = await request.json()
            self.validate(request.path, body)
            if self.slots and self.in_flight > self.slots:
                return self.failure(429, {}, "")
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            return await self.answer(request, body)
        finally:
            self.in_flight -= 1

    def validate(self, path: str, body: Any) -> None:
        """Note what does not fit the description."""
        for error in self.check[path].iter_errors(body) if path in self.check else ():
            self.invalid.append(f"{path} {error.json_path}: {error.message[:200]}")

    async def answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        """Answer as the first fitting rule tells, else with tags."""
        chat, generate = "messages" in body, "inputs" in body
        prompt = (
            "\n".join(turn["content"] for turn in body["messages"]) if chat else body.get("inputs") or body["prompt"]
        )
        rule = self.fitting(prompt)
        if rule["fault"] == "slow":
            await asyncio.sleep(SLOW_S)
        if rule["fault"] == "close":
            return await _half(request)
        if rule["fault"] == "garbage":
            return web.Response(text="<html>\u00bfque?", content_type="application/json")
        if rule["status"] != 200:
            return self.failure(rule["status"], rule["headers"], rule["fault"])
        as_json = chat or (generate and body.get("parameters", {}).get("grammar"))
        tags = tags_of(prompt)
        own = json.dumps([{"tag": tag, "explanation": ""} for tag in tags]) if as_json else "; ".join(tags)
        own = (verdict_of(body["messages"][-1]["content"]) if chat else None) or own
        text = own if rule["reply"] is None else rule["reply"]
        self.answered[hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()] += 1
        if generate:
            return _generated(prompt, text, rule["finish_reason"], body, many=request.path == "/")
        said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choice = {"index": 0, "finish_reason": rule["finish_reason"], **said}
        usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(text) // 4}
        return web.json_response({"model": body.get("model"), "choices": [choice], "usage": usage})

    def failure(self, status: int, headers: dict[str, str], fault: str) -> web.Response:
        """Fail with a body of TGI's shape, plain text, or none."""
        if fault == "text":
            return web.Response(text="as scripted, in plain text", status=status, headers=headers)
        if fault == "empty":
            return web.Response(status=status, headers=headers)
        said = {"error": "as scripted", "error_type": TGI_KINDS.get(status, "unknown")}
        return web.json_response(said, status=status, headers=headers)

    def fitting(self, prompt: str) -> dict[str, Any]:
        """Find the rule for a prompt, and use it up by one."""
        for rule in reversed(self.rules):
            if rule["contains"] in prompt and rule["times"] != 0 and self.draw.random() < rule["share"]:
                rule["times"] = None if rule["times"] is None else rule["times"] - 1
                return dict(rule)
        return dict(PLAIN)

    async def rule(self, request: web.Request) -> web.Response:
        """Take a rule."""
        self.rules.append(await request.json())
        return web.json_response({})

    async def counts(self, request: web.Request) -> web.Response:
        """Tell what was seen."""
        answered = self.answered.total()
        seen = {"requests": self.requests, "answered": answered, "distinct": len(self.answered)}
        busy = {"in_flight": self.in_flight, "peak_in_flight": self.peak, "invalid": self.invalid}
        return web.json_response({**seen, "repeated": answered - len(self.answered), **busy})

    async def models(self, request: web.Request) -> web.Response:
        """List the one model."""
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    async def health(self, request: web.Request) -> web.Response:
        """Be well."""
        return web.json_response({"status": "ok"})

    async def info(self, request: web.Request) -> web.Response:
        """Describe the server as TGI does."""
        limits = {"max_best_of": 2, "max_stop_sequences": 4, "max_input_tokens": 4095, "max_total_tokens": 4096}
        served = {"model_id": MODEL, "model_sha": None, "model_pipeline_tag": "text-generation"}
        most = {"max_concurrent_requests": self.slots or 128, "validation_workers": 2, "max_client_batch_size": 4}
        return web.json_response({**served, **limits, **most, "router": "text-generation-router", "version": "3.3.7"})


def _generated(prompt: str, text: str, reason: str, body: dict[str, Any], *, many: bool) -> web.Response:
    reasons = {"stop": "eos_token"}
    details = {
        "best_of_sequences": None,
        "finish_reason": reasons.get(reason, reason),
        "generated_tokens": len(text) // 4,
        "prefill": [],
        "seed": body.get("parameters", {}).get("seed"),
        "tokens": [],
        "top_tokens": None,
    }
    reply = {"details": details, "generated_text": text}
    said = {"prompt-tokens": len(prompt) // 4, "generated-tokens": len(text) // 4, "queue-time": 250}
    headers = {f"x-{name}": str(value) for name, value in said.items()}
    return web.json_response([reply] if many else reply, headers=headers)


async def _half(request: web.Request) -> web.StreamResponse:
    """Send the head of an answer and half of its body, then break the connection."""
    answer = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await answer.prepare(request)
    await answer.write(b'{"generated_text": "code gen')
    if request.transport is not None:
        request.transport.close()
    return answer


def _validators(openapi: Path) -> dict[str, Any]:
    """Make a validator for the body of each route that the description has."""
    import jsonschema

    described = json.loads(openapi.read_text(encoding="utf-8"))
    schemas = {name: _nullable(schema) for name, schema in described["components"]["schemas"].items()}
    for name in CLOSED:
        schemas[name]["additionalProperties"] = False
    routes = {"/generate": "GenerateRequest", "/": "CompatGenerateRequest", "/v1/chat/completions": "ChatRequest"}
    return {
        path: jsonschema.Draft202012Validator(
            {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        )
        for path, name in {**routes, "/v1/completions": "CompletionRequest"}.items()
    }


def _nullable(schema: Any) -> Any:
    """Translate OpenAPI's `nullable`, which JSON Schema has not."""
    if isinstance(schema, list):
        return [_nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: _nullable(value) for key, value in schema.items()}
    return {"anyOf": [schema, {"type": "null"}]} if schema.pop("nullable", False) else schema


async def serve(port: int, latency_s: float, slots: int, openapi: Path | None) -> None:
    """Serve until the starting process ends."""
    # A client that left is answered no more, or a test would count answers that nobody waits for.
    runner = web.AppRunner(Server(latency_s, slots, openapi).app(), access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=2048, reuse_address=True)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    # The pipe to the starting process ends with that process, so no server outlives its tests.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)
