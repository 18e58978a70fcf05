"""Text Generation Inference: raw prompts to `/generate`, where alone a raw prompt can have a grammar.

TGI differs from OpenAI's servers in what it refuses: a temperature of 0, a `top_p` of 1, a schema whose top level is a
list. It keeps a stop string at the end of its text, and falls back to the base model for an adapter it does not know.
"""

import functools
from typing import Any

from instag_hf.engines import Request
from instag_hf.engines.transport import DEFAULT_LIMIT, Answer, HttpEngine, Place, place, up_to
from instag_hf.errors import EngineError
from instag_hf.parsing import TAG_LIST_REGEX
from instag_hf.replies import Reply

SPARE = 4  # places left to others, since TGI turns away at once whoever comes when all are taken


class TGIEngine(HttpEngine):
    """A client of one TGI server, sized by what the server says of itself."""

    kind = "tgi"
    max_stops = 4

    async def prepare(self, request: Request) -> None:
        """Read `/info`: whether the model is the one asked for, and how much the server takes at once."""
        info = await self.get("/info", must=True)
        if not isinstance(info, dict) or "model_id" not in info:
            raise EngineError(
                f"{self.shown}: expected a TGI server, found none at /info. "
                "Check INSTAG_URL, or choose the engine openai for another server."
            )
        served = str(info["model_id"])
        if request.model not in {served, "tgi"} and not served.endswith(f"/{request.model}"):
            raise EngineError(
                f"{self.shown}: expected the model {request.model!r}, found {served!r}. "
                "Set INSTAG_MODEL (--model) to the one that is served, or start the server with yours."
            )
        most = int(info.get("max_concurrent_requests") or DEFAULT_LIMIT)
        self.limit = max(1, min(self.limit, most - SPARE))
        self.max_stops = int(info.get("max_stop_sequences") or self.max_stops)

    async def complete(self, request: Request) -> Reply:
        """Complete one request, once; raises as `Engine.complete` says."""
        if not isinstance(request.prompt, str):
            return await self._chat(request)
        body = {"inputs": request.prompt, "parameters": self._parameters(request)}
        return self.read_generated(await self.post("/generate", body), request.sampling.stop)

    def read_generated(self, answer: Answer, stops: tuple[str, ...]) -> Reply:
        """Read the answer of `/generate`, up to the first stop string."""
        try:
            text, details = answer.body["generated_text"], answer.body["details"]
            reason = "length" if details["finish_reason"] == "length" else "stop"
            asked = int(answer.headers.get("x-prompt-tokens") or len(details.get("prefill") or ()))
            written = int(details["generated_tokens"])
            self.telemetry.note(written, answer.headers.get("x-queue-time"))
            return Reply(up_to(stops, text), reason, asked, written)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self.unexpected(answer.body) from error

    async def _chat(self, request: Request) -> Reply:
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": request.adapter or "tgi",  # any other name is taken for an adapter
            "messages": [message._asdict() for message in request.prompt if not isinstance(message, str)],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
        }
        if 0 < sampling.top_p < 1:
            body["top_p"] = sampling.top_p
        if sampling.stop:
            body["stop"] = list(sampling.stop[: self.max_stops])
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if request.grammar:
            body["response_format"] = {"type": "regex", "value": TAG_LIST_REGEX}
        return self.read_choice(await self.post("/v1/chat/completions", body), sampling.stop)

    def _parameters(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        drawn = sampling.temperature > 0
        parameters: dict[str, Any] = {
            "details": True,
            "do_sample": drawn,
            "max_new_tokens": sampling.max_tokens,
            "return_full_text": False,
        }
        if drawn:
            parameters["temperature"] = sampling.temperature
        if 0 < sampling.top_p < 1:
            parameters["top_p"] = sampling.top_p
        if sampling.stop:
            parameters["stop"] = list(sampling.stop[: self.max_stops])
        if sampling.seed is not None:
            parameters["seed"] = sampling.seed
        if request.adapter:
            parameters["adapter_id"] = request.adapter
        if request.grammar:
            parameters["grammar"] = {"type": "regex", "value": TAG_LIST_REGEX}
        return parameters


def tgi_engine() -> TGIEngine:
    """Make the engine that the variables of `place` describe.

    Raises:
        InputError: One of the variables holds what it cannot.
    """
    return _engine(place("tgi"))


@functools.lru_cache
def _engine(at: Place) -> TGIEngine:
    """Keep one engine for one place, because its slots are counted by engine."""
    return TGIEngine(**at._asdict())
