"""A client of the package text-generation that the user has already: for code that is built around one.

The client knows its server and its secrets; we hand it prompts, with the names its own `generate` has, and turn what
it raises into our errors.
"""

import asyncio
import inspect
from typing import Any

from instag_hf.engines import Request
from instag_hf.engines.threads import in_thread
from instag_hf.engines.transport import up_to
from instag_hf.errors import EngineError, InputError, RefusedError, Unreachable
from instag_hf.parsing import TAG_LIST_REGEX
from instag_hf.replies import Reply

LIMIT = 64  # the client opens a connection for every call

_clients: dict[str, Any] = {}


def use(client: Any) -> None:
    """Let `Tagger(engine="text_generation")` ask through this client, in this process and those forked from it.

    Args:
        client: A `text_generation.AsyncClient` or `text_generation.Client`.

    Raises:
        InputError: The client has no `generate`.
    """
    if not callable(getattr(client, "generate", None)):
        raise InputError(f"text_generation.use: expected a text_generation client, found {type(client).__name__}.")
    _clients["engine"] = TextGenerationEngine(client)


def text_generation_engine() -> "TextGenerationEngine":
    """Return the engine of the client that was given to `use`.

    Raises:
        InputError: No client was given.
    """
    if "engine" not in _clients:
        raise InputError(
            "engine text_generation: expected a client. Give it one with "
            "instag_hf.engines.text_generation.use(text_generation.AsyncClient(url))."
        )
    engine: TextGenerationEngine = _clients["engine"]
    return engine


class TextGenerationEngine:
    """Asks through a user's client, one call for each request."""

    limit = LIMIT

    def __init__(self, client: Any) -> None:
        """Keep the client; its secrets stay in it."""
        self._client = client
        self._is_async = inspect.iscoroutinefunction(client.generate)

    async def prepare(self, request: Request) -> None:
        """Refuse what the client's `generate` cannot send; raises as `Engine.prepare` says."""
        if not isinstance(request.prompt, str):
            raise EngineError("engine text_generation: takes raw prompts alone. Choose a recipe with one (--recipe).")
        if request.adapter:
            raise EngineError("engine text_generation: its client cannot name an adapter. Choose the engine tgi.")

    async def alive(self) -> bool:
        """Whether to try again: the client has no way to look."""
        return True

    def describe(self) -> dict[str, str]:
        """Name the kind; the client keeps its address."""
        return {"engine": "text_generation"}

    async def complete(self, request: Request) -> Reply:
        """Complete one request, once; raises as `Engine.complete` says."""
        call = self._arguments(request)
        try:
            if self._is_async:
                answer = await self._client.generate(**call)
            else:
                answer = await in_thread(lambda: self._client.generate(**call))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise _translated(error) from error
        details = answer.details
        reason = str(getattr(details.finish_reason, "value", details.finish_reason))
        text = up_to(request.sampling.stop, answer.generated_text)
        asked = len(details.prefill or ())
        return Reply(text, "length" if reason == "length" else "stop", asked, int(details.generated_tokens))

    def _arguments(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        call: dict[str, Any] = {
            "prompt": request.prompt,
            "do_sample": sampling.temperature > 0,
            "max_new_tokens": sampling.max_tokens,
            "stop_sequences": list(sampling.stop[:4]),
        }
        if sampling.temperature > 0:
            call["temperature"] = sampling.temperature
        if 0 < sampling.top_p < 1:
            call["top_p"] = sampling.top_p
        if sampling.seed is not None:
            call["seed"] = sampling.seed
        if request.grammar:
            from text_generation.types import Grammar, GrammarType

            call["grammar"] = Grammar(type=GrammarType.Regex, value=TAG_LIST_REGEX)
        return call


def _translated(error: Exception) -> EngineError | RefusedError:
    """Turn what the client raises into our error of the same meaning; bodies that are no JSON raise as such there."""
    name = type(error).__name__
    said = f"{name}: {error}"[:200]
    if name in {"ValidationError", "BadRequestError"}:
        return RefusedError(said)
    if name in {"ClientConnectorError", "ConnectionError"}:
        return Unreachable("engine text_generation: nobody listens. Start its server and run the same line again.")
    if name == "NotFoundError":
        return EngineError(f"engine text_generation: {said}. Check the client's address.")
    if name in {"OverloadedError", "RateLimitExceededError"}:
        return EngineError(f"engine text_generation: {said}", retryable=True, overloaded=True)
    return EngineError(f"engine text_generation: {said}", retryable=True, of_request=True)
