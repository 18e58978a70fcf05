"""Stand-ins for tests, ours and yours: a tagging server that answers at once, the same each time, and can misbehave.

with TaggingServer() as server:
    monkeypatch.setenv("INSTAG_ENGINE", "openai")
    monkeypatch.setenv("INSTAG_URL", server.url)
    monkeypatch.setenv("INSTAG_MODEL", "stand-in")
    tagged = ds.map(instag.tag)
    assert server.counts().requests == len(set(ds["query"]))
"""

import dataclasses
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from instag_hf.testing.tagging import tags_of

__all__ = ["FAULTS", "Counts", "Rule", "TaggingServer", "tags_of"]

FAULTS = ("", "text", "empty", "garbage", "close", "slow")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """How the server answers prompts that contain a text.

    Attributes:
        contains: The text; "" is in every prompt.
        status: The HTTP status; other than 200 it comes without a reply.
        reply: What is answered; the prompt's own tags, or a judge's verdict, if not given.
        finish_reason: "stop" or "length".
        times: How often the rule holds before it is forgotten; `None` is always.
        headers: Headers sent with the answer.
        fault: How the answer is spoilt besides: "text" (its body is plain text), "empty" (it has none), "garbage" (it
            is no JSON), "close" (the connection breaks in the middle), "slow" (it takes a minute).
        share: How many of the prompts that contain the text the rule holds for, 0 to 1, drawn anew for each request.
    """

    contains: str = ""
    status: int = 200
    reply: str | None = None
    finish_reason: str = "stop"
    times: int | None = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    fault: str = ""
    share: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
    """What the server has seen: requests, answers with status 200, distinct bodies answered, and its busiest moment."""

    requests: int
    answered: int
    distinct: int
    repeated: int  # answers to a body that had been answered before
    in_flight: int
    peak_in_flight: int
    invalid: list[str]  # why requests do not fit the OpenAPI description, if the server was given one


class TaggingServer:
    """A tagging server in a process of its own, on 127.0.0.1, speaking OpenAI's completions and TGI's `/generate`.

    A chat, and a prompt with a grammar, is answered with the paper's JSON list, another raw prompt with the compact
    format. It is a judge too: to it, a tag fits a query just where it stands in the query's text.
    """

    def __init__(self, *, latency_s: float = 0.0, port: int = 0, openapi: Path | None = None, slots: int = 0) -> None:
        """Keep how the server shall be.

        Args:
            latency_s: How long each answer takes, in seconds.
            port: Where it listens; 0 takes a free one.
            openapi: TGI's OpenAPI description, to check requests against; needs the package jsonschema.
            slots: How many requests it takes at once; it turns others away with status 429. 0 is no bound.
        """
        self.latency_s = latency_s
        self.port = port
        self.openapi = openapi
        self.slots = slots
        self.pid = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where the server answers; the same after a restart."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start the server, or start it again on the port it had; it has forgotten its rules and counts."""
        options = [str(self.port), str(self.latency_s), str(self.slots), str(self.openapi or "")]
        command = [sys.executable, "-m", "instag_hf.testing", *options]
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
