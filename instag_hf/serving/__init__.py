"""A server for a tagger: the command that starts one, and a doctor who says whether a running one fits.

The doctor asks a few written queries of known intention. One wrong answer says little; what all of them have in common
says whether the template, the model's name, the output's shape or the room for it is wrong.
"""

import asyncio
import contextlib
import dataclasses
import importlib.util
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from instag_hf.engines import Engine, ask, connect, embedded, loops, session
from instag_hf.engines.openai import OpenAIEngine
from instag_hf.errors import EngineError, InputError, InstagError, MissingError, RowFailure
from instag_hf.parsing import parse
from instag_hf.prompts import Recipe, load_recipe, recipe_for
from instag_hf.replies import Reply, Store
from instag_hf.tagger import Tagger

SERVERS = ("tgi", "vllm", "sglang", "llamacpp")
TGI_IMAGE = "ghcr.io/huggingface/text-generation-inference:3.3.7"  # the last release
PATIENCE_S = 600.0


class Probe(NamedTuple):
    """A query whose intention is plain, and words of which a fitting tag has one."""

    query: str
    about: tuple[str, ...]


PROBES = (
    Probe("Write a Python function that reverses a string.", ("python", "code", "program", "string")),
    Probe("Translate 'good morning' into French.", ("translat", "french", "language")),
    Probe("Write a short poem about the sea.", ("poe", "writing", "creative")),
    Probe("What is 17 times 23?", ("math", "arithmetic", "calcul", "multipl")),
    Probe("Summarize the plot of a mystery novel in two sentences.", ("summar", "literat", "novel", "mystery")),
    Probe("Plan a weekend trip to the mountains for two people.", ("travel", "plan", "trip")),
    Probe("Explain how photosynthesis works.", ("explan", "biolog", "science", "photosynthesis", "plant")),
    Probe("Suggest a vegetarian dinner that takes 20 minutes.", ("recipe", "food", "cook", "recommend", "vegetarian")),
    Probe("Fix the grammar: She don't like apples.", ("grammar", "proofread", "correct", "edit")),
    Probe("Which is better for a beginner, chess or go? Compare both.", ("compar", "game", "recommend", "chess")),
    Probe("Write a formal email asking my boss for a day off.", ("email", "writing", "business", "formal")),
    Probe("用一句话解释什么是通货膨胀。", ("econom", "explan", "inflation", "definition", "financ")),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing the doctor found: "ok", "missing", "warning" or "error", what it is, and what to do."""

    level: str
    what: str
    remedy: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What the doctor found.

    Attributes:
        server: The kind of server.
        findings: What is right and what is not, worst last.
        replies: The text of each probe's reply, or what failed, in order.
    """

    server: str
    findings: tuple[Finding, ...]
    replies: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.level != "error" for finding in self.findings)


def diagnose(tagger: Tagger) -> Diagnosis:
    """Ask a running server the probes and say whether model, recipe and output fit.

    Nothing is taken from the reply store or written to it: the server as it is now is what matters.

    Raises:
        InputError: The engine's variables are not set.
    """
    engine = connect(tagger.engine, tagger.model, tagger.recipe_used.context_tokens, tagger.revision)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "replies.sqlite")
        try:
            return loops.run(_diagnose(engine, tagger, store))  # a notebook has a loop already
        finally:
            store.close()


async def _diagnose(engine: Engine, tagger: Tagger, store: Store) -> Diagnosis:
    async with session():
        if not await engine.alive():
            where = engine.describe().get("url", "")
            nobody = Finding(
                level="error", what=f"nobody listens at {where}", remedy="Start the server, or set INSTAG_URL."
            )
            return Diagnosis(server="", findings=(nobody,), replies=())
        server = await engine.detect() if isinstance(engine, OpenAIEngine) else tagger.engine
        outcomes = await _ask_all(engine, tagger, store)
        findings = [*_read(tagger, outcomes), *await _look_for_adapter(engine, tagger, outcomes, store)]
    told = tuple(outcome.text if isinstance(outcome, Reply) else str(outcome) for outcome in outcomes)
    order = ("ok", "warning", "error")
    return Diagnosis(
        server=server, findings=tuple(sorted(findings, key=lambda found: order.index(found.level))), replies=told
    )


async def _ask_all(engine: Engine, tagger: Tagger, store: Store) -> list[Reply | InstagError]:
    async def one(probe: Probe) -> Reply | InstagError:
        try:
            return await ask(engine, tagger.request(probe.query), store)
        except InstagError as error:
            return error

    return list(await asyncio.gather(*map(one, PROBES)))


def _read(tagger: Tagger, outcomes: list[Reply | InstagError]) -> list[Finding]:
    """Say what the outcomes have in common."""
    failed = [outcome for outcome in outcomes if isinstance(outcome, InstagError)]
    if failed:
        return [_of_failures(failed, len(outcomes))]
    replies = [outcome for outcome in outcomes if isinstance(outcome, Reply)]
    kinds: Counter[str] = Counter()
    fitting = 0
    for probe, reply in zip(PROBES, replies, strict=True):
        try:
            tags = parse(reply.text, tagger.recipe_used.format, cut=reply.finish_reason == "length").tags
        except RowFailure as error:
            kinds[error.kind] += 1
            continue
        fitting += any(word in tag.lower() for word in probe.about for tag in tags)
    found = [*_of_shape(tagger, replies, kinds)]
    read = len(replies) - kinds.total()
    if read and fitting < read / 2:
        found.append(
            Finding(
                level="error",
                what=f"only {fitting} of {read} readable replies have a tag that fits the query",
                remedy="The model is no tagger for this recipe, or the template is another. Compare --recipe with the "
                "model's card; on llama.cpp a model without a template is given ChatML in silence.",
            )
        )
    return found or [Finding(level="ok", what=f"{fitting} of {read} replies are lists of tags that fit the query")]


def _of_failures(failed: list[InstagError], asked: int) -> Finding:
    said = str(failed[0])
    remedies = {
        "chat template": "The model has no chat template. Choose a recipe with a raw prompt, such as "
        "instagger-vicuna, or start the server with --chat-template.",
        "template": "The server could not apply a chat template. Choose a recipe with a raw prompt.",
        "status 404": "The server does not know the model's name. Set INSTAG_MODEL (--model) to one that it serves.",
        "status 401": "The server wants a key: set INSTAG_API_KEY.",
        "grammar": "The server takes no structured output: use --no-structured.",
        "must be <=": "The prompt does not fit: give the server more room, or use a recipe with a smaller bound.",
    }
    remedy = next((text for words, text in remedies.items() if words in said.lower()), "")
    return Finding(level="error", what=f"{len(failed)} of {asked} probes failed: {said}", remedy=remedy)


def _of_shape(tagger: Tagger, replies: list[Reply], kinds: Counter[str]) -> list[Finding]:
    found = []
    cut = sum(reply.finish_reason == "length" for reply in replies)
    if cut > len(replies) / 4:
        found.append(
            Finding(
                level="error",
                what=f"{cut} of {len(replies)} replies were cut by their length",
                remedy="The model does not stop: the template or the stop string is another than it was trained with. "
                "If replies are lists that are only long, raise max_tokens in the recipe.",
            )
        )
    without = kinds.total() - kinds["truncated"]  # those cut are told above
    if without > len(replies) / 4:
        shape = "tag; tag; tag" if tagger.recipe_used.format == "compact" else "a JSON list of tags"
        found.append(
            Finding(
                level="error",
                what=f"{without} of {len(replies)} replies are not {shape}",
                remedy="The recipe is for another model, or the model needs structured output (--structured).",
            )
        )
    return found


async def _look_for_adapter(
    engine: Engine, tagger: Tagger, outcomes: list[Reply | InstagError], store: Store
) -> list[Finding]:
    """Ask without the adapter: a server that does not know its name answers with the base model, and says nothing."""
    if not tagger.adapter or not all(isinstance(outcome, Reply) for outcome in outcomes):
        return []
    bare = await _ask_all(engine, dataclasses.replace(tagger, adapter=""), store)
    texts = [[outcome.text if isinstance(outcome, Reply) else "" for outcome in some] for some in (outcomes, bare)]
    if texts[0] == texts[1]:
        return [
            Finding(
                level="error",
                what=f"with the adapter {tagger.adapter!r} and without it the replies are the same",
                remedy="The server does not know this adapter: compare its name with the one it was started with.",
            )
        ]
    return [Finding(level="ok", what=f"the adapter {tagger.adapter!r} changes the replies")]


def command(server: str, model: str, *, port: int = 8080) -> list[str]:
    """Write the command that serves a tagger.

    Args:
        server: One of `SERVERS`.
        model: A Hub id or a folder; for llama.cpp a GGUF file, or nothing for the tagger that ships with the package.
        port: Where it shall listen.

    Raises:
        InputError: There is no such server, or it cannot serve this model.
    """
    if server not in SERVERS:
        raise InputError(f"serve: expected one of {list(SERVERS)}, found {server!r}.")
    if server == "llamacpp":
        where, recipe = _loaded(model or embedded.MODEL)
        slots, room = embedded.SLOTS, embedded.SLOTS * recipe.context_tokens
        listen = ["--host", "127.0.0.1", "--port", str(port)]
        return ["llama-server", *where, *listen, "--parallel", str(slots), "--ctx-size", str(room)]
    if not model or model.endswith(".gguf"):
        raise InputError(
            f"serve: {server} serves a Hub id or a folder, found {model!r}. Choose llamacpp for GGUF files."
        )
    if server == "tgi":
        name = _mounted(model)
        mount = ["-v", f"{Path(model).resolve()}:{name}:ro"] if name else []
        return [
            *("docker", "run", "--gpus", "all", "--shm-size", "1g", "-p", f"127.0.0.1:{port}:80"),
            *("-v", "tgi-data:/data", *mount, "-e", "HF_TOKEN", TGI_IMAGE),
            *("--model-id", name or model, "--max-concurrent-requests", "256"),
        ]
    if server == "vllm":
        return ["vllm", "serve", model, "--host", "127.0.0.1", "--port", str(port)]
    return ["python", "-m", "sglang.launch_server", "--model-path", model, "--host", "127.0.0.1", "--port", str(port)]


def _loaded(model: str) -> tuple[list[str], Recipe]:
    """Say how llama.cpp loads a model, and the recipe that it is asked with, whose prompts must fit into a slot."""
    if model != embedded.MODEL and not model.endswith(".gguf"):
        return ["-hf", model], recipe_for(model)
    untold = recipe_for(model) if embedded.is_whole(model) else load_recipe("embedded")
    recipe = embedded.trained_recipe(model) or untold
    return ["-m", str(embedded.weights(model))], recipe


def variables(server: str, model: str, port: int) -> dict[str, str]:
    """Return the variables with which `instag tag` asks a server that `command` started."""
    where = {"INSTAG_URL": f"http://127.0.0.1:{port}"}
    if server == "tgi":
        return {"INSTAG_ENGINE": "tgi", **where, "INSTAG_MODEL": _mounted(model) or model}
    return {"INSTAG_ENGINE": "openai", **where, "INSTAG_MODEL": model or embedded.MODEL}


def recipe_to_name(server: str, model: str) -> str:
    """Name the recipe that a served tagger was trained with, where `instag tag` would choose another; else ""."""
    if server != "llamacpp":
        return ""
    trained, chosen = _loaded(model or embedded.MODEL)[1], recipe_for(model or embedded.MODEL)
    return "" if trained.name == chosen.name else trained.name


def _mounted(model: str) -> str:
    """Say where a container sees a folder of this machine; "" for a Hub id."""
    return f"/models/{Path(model).resolve().name}" if Path(model).is_dir() else ""


def run(words: list[str], *, port: int, patience_s: float = PATIENCE_S) -> int:
    """Start a server, say on stderr when it answers, watch it, and end it with this process.

    Returns:
        The server's exit code.

    Raises:
        InputError: Somebody listens at the port already.
        MissingError: The server's program is not installed.
        EngineError: The server ended before it answered, or did not answer in time.
    """
    if shutil.which(words[0]) is None:
        words = _without_program(words, port)
    with socket.socket() as other:
        if other.connect_ex(("127.0.0.1", port)) == 0:
            raise InputError(f"serve: expected port {port} to be free, found it taken. Choose another port (--port).")
    child = subprocess.Popen(words, start_new_session=True)
    try:
        with _ended_as_by_ctrl_c():
            _wait_until_it_answers(child, port, patience_s)
            sys.stderr.write(f"serving on http://127.0.0.1:{port}; Ctrl-C ends it\n")
            return child.wait()
    except KeyboardInterrupt:
        return 130
    finally:
        _end(child)


@contextlib.contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Take SIGTERM as Ctrl-C; beside the main thread, which alone may, the signal stays what it was."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _without_program(words: list[str], port: int) -> list[str]:
    """Run llama.cpp's own server from the package xllamacpp where its program is not installed."""
    if words[0] == "llama-server" and "-m" in words and importlib.util.find_spec("xllamacpp"):
        path, room = (words[words.index(option) + 1] for option in ("-m", "--ctx-size"))
        return [sys.executable, "-m", "instag_hf.engines.embedded", path, str(port), room]
    raise MissingError(f"serve: {words[0]} is not installed. Install it, or run the printed command elsewhere.")


def _wait_until_it_answers(child: "subprocess.Popen[bytes]", port: int, patience_s: float) -> None:
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy knows this machine's ports
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise EngineError(f"serve: the server ended with exit code {child.returncode} before it answered.")
        try:
            with straight.open(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise EngineError(f"serve: the server did not answer within {patience_s:g} s.")


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End the server and all it started."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def as_shell(words: list[str], settings: Mapping[str, str], recipe: str = "") -> str:
    """Write a command and the variables to tag with it, ready to be pasted, and the recipe where it must be named."""
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in settings.items())
    named = f"\n# and with this recipe:\ninstag tag data.jsonl -o tagged.parquet --recipe {recipe}" if recipe else ""
    return f"{shlex.join(words)}\n\n# then, where you tag:\n{exports}{named}"
