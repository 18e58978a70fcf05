"""Weights in this process through transformers, in batches of like length: for a GPU without a server.

Requests come one by one, as `map` asks them, so they wait for one another: whoever has waited longest goes next, and
those nearest to it in length go with it, since padding is work for nothing.
"""

import asyncio
import dataclasses
import functools
import sys
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instag_hf.engines import Request, Sampling, embedded, env_number
from instag_hf.engines.threads import in_thread
from instag_hf.errors import EngineError, InputError, InstagError, MissingError, RefusedError
from instag_hf.replies import Reply

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 32
WINDOW = 16  # batches' worth of requests to choose from


def load(
    model: str,
    *,
    revision: str | None = None,
    dtype: Any = None,
    attention: str | None = None,
    device: str | None = None,
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load a causal LM and its tokenizer, with plain matrices where the file has quantized ones.

    Args:
        model: A Hub id, a folder (of a peft adapter too) or a GGUF file.
        revision: Which version of a Hub id.
        dtype: Of the weights; the checkpoint's own by default, bfloat16 for a GGUF file.
        attention: Which of transformers' ways to compute attention; its own choice by default.
        device: Where to put it; by default it stays on the CPU, for a Trainer to place.

    Raises:
        InputError: There is no such model.
        MissingError: transformers is not installed.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingError(f'engine local: needs {error.name}. pip install "instag-hf[train]"') from error
    where: dict[str, Any] = {"pretrained_model_name_or_path": model, "revision": revision or "main"}
    options: dict[str, Any] = {"dtype": dtype or "auto"}
    if device:
        options["device_map"] = device
    if attention:
        options["attn_implementation"] = attention
    if model.endswith(".gguf"):
        where = {"pretrained_model_name_or_path": Path(model).parent, "gguf_file": Path(model).name}
        options["dtype"] = dtype or torch.bfloat16
        if hasattr(transformers, "GgufConfig"):  # newer releases keep the blocks packed unless told
            options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
        loaded = transformers.AutoModelForCausalLM.from_pretrained(**where, **options)
    except (OSError, ValueError) as error:
        raise InputError(f"model {model}: transformers could not load it: {error}") from error
    if hasattr(loaded.config, "quantization_config") and "gguf_file" in where:
        del loaded.config.quantization_config  # else peft and the Trainer take the plain matrices for packed ones
    return loaded, tokenizer


def _device() -> str:
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


@dataclasses.dataclass(eq=False)
class _Waiting:
    request: Request
    ids: list[int]
    reply: "asyncio.Future[Reply]"


class _Line:
    """Who waits in one event loop, and the task that answers them; a loop that nobody runs any more keeps its own."""

    def __init__(self) -> None:
        self.waiting: list[_Waiting] = []
        self.worker: asyncio.Task[None] | None = None


class LocalEngine:
    """One model in this process."""

    def __init__(self, model: str, revision: str = "", batch: int = BATCH) -> None:
        """Keep what to load and how many requests go through it at once; nothing is loaded yet."""
        self.model = model
        self.revision = revision
        self.batch = batch
        self.limit = batch * WINDOW
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None
        self._lines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = weakref.WeakKeyDictionary()

    async def prepare(self, request: Request) -> None:
        """Load the model; raises as `Engine.prepare` says."""
        try:
            await in_thread(self._load)
        except (InputError, MissingError) as error:
            raise EngineError(str(error)) from error

    async def alive(self) -> bool:
        """Whether the model can be asked, which it always can."""
        return True

    def describe(self) -> dict[str, str]:
        """Name the kind and the model."""
        return {"engine": "local", "model": self.model}

    async def complete(self, request: Request) -> Reply:
        """Complete one request together with others; raises as `Engine.complete` says."""
        loop = asyncio.get_running_loop()
        mine = _Waiting(request, self._ids(request), loop.create_future())
        room, reply = self._room(), request.sampling.max_tokens
        if len(mine.ids) + reply > room:
            raise RefusedError(f"{len(mine.ids)} tokens of prompt and {reply} of reply do not fit into {room}")
        line = self._lines.setdefault(loop, _Line())
        line.waiting.append(mine)
        if line.worker is None or line.worker.done():
            line.worker = loop.create_task(self._work(line.waiting))
        try:
            return await mine.reply
        finally:
            if mine in line.waiting:
                line.waiting.remove(mine)

    async def _work(self, waiting: list[_Waiting]) -> None:
        """Answer batch after batch until nobody waits."""
        await asyncio.sleep(0)  # all rows that `map` starts at once are here before the first batch is chosen
        with ThreadPoolExecutor(1) as thread:
            while waiting:
                batch = _choose(waiting, self.batch)
                for one in batch:
                    waiting.remove(one)
                await self._answer(batch, thread)

    async def _answer(self, batch: Sequence[_Waiting], thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        sampling = batch[0].request.sampling
        outcomes: Sequence[Reply | InstagError]
        try:
            outcomes = await loop.run_in_executor(thread, self._generate, [one.ids for one in batch], sampling)
        except InstagError as error:
            outcomes = [error] * len(batch)
        except Exception as error:  # noqa: BLE001 - whatever torch raises belongs to those who wait
            outcomes = [EngineError(f"model {self.model}: {type(error).__name__}: {error}")] * len(batch)
        for one, outcome in zip(batch, outcomes, strict=True):
            if not one.reply.done():
                (one.reply.set_result if isinstance(outcome, Reply) else one.reply.set_exception)(outcome)  # type: ignore[arg-type]

    def _load(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                path = self.model
                if path == embedded.MODEL or path.endswith(".gguf"):
                    path = str(embedded.weights(path))
                model, tokenizer = load(path, revision=self._version(), device=_device())
                tokenizer.padding_side = "left"
                model.eval()  # type: ignore[no-untyped-call]
                self._loaded = (model, tokenizer)
            return self._loaded

    def _version(self) -> str | None:
        """The version of a Hub id; of files the revision is a hash, which transformers does not know."""
        return None if self.model == embedded.MODEL or Path(self.model).exists() else self.revision or None

    def _room(self) -> int:
        return int(getattr(self._load()[0].config, "max_position_embeddings", None) or sys.maxsize)

    def _ids(self, request: Request) -> list[int]:
        _, tokenizer = self._load()
        if isinstance(request.prompt, str):
            return list(tokenizer(request.prompt)["input_ids"])
        if not getattr(tokenizer, "chat_template", None):
            raise EngineError(
                f"model {self.model}: has no chat template. Choose a recipe with a raw prompt (--recipe)."
            )
        messages = [message._asdict() for message in request.prompt if not isinstance(message, str)]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    def _generate(self, prompts: Sequence[list[int]], sampling: Sampling) -> list[Reply]:
        import torch

        model, tokenizer = self._load()
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0
        width = max(map(len, prompts))
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=model.device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=ids.device)
        ends = _ends(model, tokenizer, sampling.stop)
        drawn: dict[str, Any] = (
            {"temperature": sampling.temperature, "top_p": sampling.top_p} if sampling.temperature else {}
        )
        if drawn and sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        texts = [stop for stop in sampling.stop if len(tokenizer(stop, add_special_tokens=False)["input_ids"]) > 1]
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=sampling.max_tokens,
                do_sample=bool(drawn),
                eos_token_id=sorted(ends) or None,
                pad_token_id=pad,
                **({"stop_strings": texts, "tokenizer": tokenizer} if texts else {}),
                **(drawn or {"temperature": None, "top_p": None, "top_k": None}),
            )
        return [
            _reply(tokenizer, new, len(prompt), ends, sampling)
            for new, prompt in zip(out[:, width:].tolist(), prompts, strict=True)
        ]


def local_engine(model: str, revision: str) -> LocalEngine:
    """Return this process's engine for a model; `INSTAG_BATCH` says how many requests go through it at once.

    Raises:
        InputError: `INSTAG_BATCH` is no number above 0.
    """
    batch = env_number("INSTAG_BATCH", BATCH)
    if batch < 1:
        raise InputError(f"INSTAG_BATCH: expected at least 1 request at once, found {batch:g}.")
    return _engine(model, revision, int(batch))


@functools.lru_cache
def _engine(model: str, revision: str, batch: int) -> LocalEngine:
    return LocalEngine(model, revision, batch)


def _choose(waiting: Sequence[_Waiting], size: int) -> list[_Waiting]:
    """Take who has waited longest, and those of the same sampling that are nearest to it in length."""
    first = waiting[0]
    alike = [one for one in waiting if one.request.sampling == first.request.sampling]
    return sorted(alike, key=lambda one: (one is not first, abs(len(one.ids) - len(first.ids))))[:size]


def _ends(model: Any, tokenizer: Any, stops: Sequence[str]) -> set[int]:
    """Collect the tokens that end a reply: the model's own, and stop strings that are one token."""
    own = model.generation_config.eos_token_id
    ends = set(own if isinstance(own, list) else [own]) | {tokenizer.eos_token_id}
    for stop in stops:
        ids = tokenizer(stop, add_special_tokens=False)["input_ids"]
        if len(ids) == 1:
            ends.add(ids[0])
    return {end for end in ends if end is not None}


def _reply(tokenizer: Any, new: list[int], asked: int, ends: set[int], sampling: Sampling) -> Reply:
    length = next((i for i, token in enumerate(new) if token in ends), None)
    kept = new if length is None else new[:length]
    text = tokenizer.decode(kept, skip_special_tokens=True)
    stopped = length is not None
    for stop in sampling.stop:
        before, found, _ = text.partition(stop)
        if found:
            text, stopped = before, True
    reason = "stop" if stopped or len(kept) < sampling.max_tokens else "length"
    return Reply(text, reason, asked, len(kept) + (length is not None))
