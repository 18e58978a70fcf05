"""Stand-ins for tests, ours and yours: a tagging server that answers at once, the same each time, and can misbehave.

with TaggingServer() as server:
    monkeypatch.setenv("INSTAG_ENGINE", "openai")
    monkeypatch.setenv("INSTAG_URL", server.url)
    monkeypatch.setenv("INSTAG_MODEL", "stand-in")
    tagged = ds.map(instag.tag)
    assert server.counts().requests == len(set(ds["query"]))
"""

import argparse
import asyncio
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from types import TracebackType
from typing import Any, Self

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """How the server answers prompts that contain a text.

    Attributes:
        contains: The text; "" is in every prompt.
        status: The HTTP status; other than 200 it comes without a reply.
        reply: What is answered; the prompt's own tags if not given.
        finish_reason: "stop" or "length".
        times: How often the rule holds before it is forgotten; `None` is always.
        headers: Headers sent with the answer.
    """

    contains: str = ""
    status: int = 200
    reply: str | None = None
    finish_reason: str = "stop"
    times: int | None = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
    """What the server has seen: requests, answers with status 200, distinct bodies answered, and its busiest moment."""

    requests: int
    answered: int
    distinct: int
    repeated: int  # answers to a body that had been answered before
    in_flight: int
    peak_in_flight: int


class TaggingServer:
    """A tagging server in a process of its own, on 127.0.0.1, speaking OpenAI's completions.

    A chat is answered with the paper's JSON list, a raw prompt with the compact format.
    """

    def __init__(self, *, latency_s: float = 0.0, port: int = 0) -> None:
        """Keep how long each answer takes in seconds, and the port; 0 takes a free one."""
        self.latency_s = latency_s
        self.port = port
        self.pid = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where the server answers; the same after a restart."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start the server, or start it again on the port it had; it has forgotten its rules and counts."""
        command = [sys.executable, "-m", "instag_hf.testing", str(self.port), str(self.latency_s)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line.strip():
            self.kill()
            raise OSError(f"TaggingServer: expected port {self.port} to be free, found it taken.")
        self.port, self.pid = int(line), self._process.pid
        return self

    def kill(self) -> None:
        """End the server at once, in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdout, self._process.stdin):
                if stream is not None:
                    stream.close()
            self._process = None

    def counts(self) -> Counts:
        """Ask the server what it has seen since its start."""
        return Counts(**self._control("counts", None))

    def rule(self, rule: Rule) -> None:
        """Give the server a rule; of several that fit a prompt the one given last holds."""
        self._control("rule", dataclasses.asdict(rule))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _control(self, name: str, body: Any) -> Any:
        request = urllib.request.Request(f"{self.url}/control/{name}", data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


class _Server:
    """The server's side: it runs in the child process."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self.rules: list[dict[str, Any]] = []
        self.answered: Counter[str] = Counter()
        self.requests = self.in_flight = self.peak = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_post("/v1/completions", self.complete)
        app.router.add_post("/v1/chat/completions", self.complete)
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/health", self.health)
        app.router.add_post("/control/counts", self.counts)
        app.router.add_post("/control/rule", self.rule)
        return app

    async def complete(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            body = await request.json()
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            return self.answer(body)
        finally:
            self.in_flight -= 1

    def answer(self, body: dict[str, Any]) -> web.Response:
        chat = "messages" in body
        prompt = "\n".join(turn["content"] for turn in body["messages"]) if chat else body["prompt"]
        rule = self.fitting(prompt)
        if rule["status"] != 200:
            return web.json_response({"error": "as scripted"}, status=rule["status"], headers=rule["headers"])
        tags = tags_of(prompt)
        own = json.dumps([{"tag": tag, "explanation": ""} for tag in tags]) if chat else "; ".join(tags)
        text = own if rule["reply"] is None else rule["reply"]
        self.answered[hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()] += 1
        said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choice = {"index": 0, "finish_reason": rule["finish_reason"], **said}
        usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(text) // 4}
        return web.json_response({"model": body.get("model"), "choices": [choice], "usage": usage})

    def fitting(self, prompt: str) -> dict[str, Any]:
        for rule in reversed(self.rules):
            if rule["contains"] in prompt and rule["times"] != 0:
                rule["times"] = None if rule["times"] is None else rule["times"] - 1
                return dict(rule)
        return dataclasses.asdict(Rule())

    async def rule(self, request: web.Request) -> web.Response:
        self.rules.append(await request.json())
        return web.json_response({})

    async def counts(self, request: web.Request) -> web.Response:
        answered = self.answered.total()
        seen = {"requests": self.requests, "answered": answered, "distinct": len(self.answered)}
        busy = {"in_flight": self.in_flight, "peak_in_flight": self.peak}
        return web.json_response({**seen, "repeated": answered - len(self.answered), **busy})

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "stand-in", "object": "model"}]})

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})


async def _serve(port: int, latency_s: float) -> None:
    runner = web.AppRunner(_Server(latency_s).app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=2048, reuse_address=True)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    # The pipe to the starting process ends with that process, so no server outlives its tests.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The tagging server of the tests; use TaggingServer.")
    parser.add_argument("port", type=int)
    parser.add_argument("latency_s", type=float)
    given = parser.parse_args()
    asyncio.run(_serve(given.port, given.latency_s))
