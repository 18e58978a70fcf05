"""Stand-ins for tests, ours and yours: a tagging server that answers at once, and a Hub; both misbehave as told.

with TaggingServer() as server:
    monkeypatch.setenv("INSTAG_ENGINE", "openai")
    monkeypatch.setenv("INSTAG_URL", server.url)
    monkeypatch.setenv("INSTAG_MODEL", "stand-in")
    tagged = ds.map(instag.tag)
    assert server.counts().requests == len(set(ds["query"]))
"""

import dataclasses
from pathlib import Path

from instag_hf.errors import InputError
from instag_hf.testing.hub import Fault, LocalHub, Seen
from instag_hf.testing.process import ServerProcess
from instag_hf.testing.tagging import tags_of

__all__ = ["FAULTS", "Counts", "Fault", "LocalHub", "Rule", "Seen", "TaggingServer", "tags_of"]

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

    def __post_init__(self) -> None:
        """Refuse a fault that there is not, by which a test would pass for nothing.

        Raises:
            InputError: It is none of `FAULTS`.
        """
        if self.fault not in FAULTS:
            raise InputError(f"rule: expected one of the faults {list(FAULTS)}, found {self.fault!r}.")


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


class TaggingServer(ServerProcess):
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
        super().__init__(port)
        self.latency_s = latency_s
        self.openapi = openapi
        self.slots = slots

    def _words(self) -> list[str]:
        options = [str(self.port), str(self.latency_s), str(self.slots), str(self.openapi or "")]
        return ["instag_hf.testing", *options]

    def counts(self) -> Counts:
        """Ask the server what it has seen since its start."""
        return Counts(**self._control("counts", None))

    def rule(self, rule: Rule) -> None:
        """Give the server a rule; of several that fit a prompt the one given last holds."""
        self._control("rule", dataclasses.asdict(rule))
