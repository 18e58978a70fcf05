"""Row in, columns out: what `Dataset.map` calls.

A `Tagger` holds what is asked and nothing about where, because `datasets` finds old results by a hash of its fields.
"""

import asyncio
import dataclasses
import functools
import hashlib
import json
import os
import sys
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instag_hf.engines import KINDS, Engine, Request, Sampling, ask, connect
from instag_hf.engines.loops import allow_nested_loop, in_turn, run
from instag_hf.engines.models import check_served, identity, model_name, own_recipe
from instag_hf.engines.runs import WINDOW, mostly_failed, together
from instag_hf.errors import EngineError, InputError, InstagError, ReplyError, RowError, RowFailure
from instag_hf.parsing import GRAMMAR, PARSER, Parsed, parse
from instag_hf.prompts import Recipe, load_recipe
from instag_hf.replies import Store, store
from instag_hf.rows import (
    ADDED,
    ERROR,
    EXPLANATIONS,
    TAGGER,
    TAGS,
    TURN_POLICIES,
    TURNS,
    check_columns,
    find_shape,
    queries,
)

if TYPE_CHECKING:
    from datasets import Features

    from instag_hf.engines.transport import Telemetry

FACTS = ("engine", "model", "revision", "adapter", "recipe", "structured", "sampling", "parser")

Row = Mapping[str, Any]
Columns = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tagger:
    """Tags every user query of a row with its open-set intentions (paper section 3.1).

    Attributes:
        engine: Where models run: "embedded" or "local" (in this process, by llama.cpp or by transformers), on a server
            at `INSTAG_URL` ("tgi", "openai"), or behind a client ("text_generation"); `INSTAG_ENGINE`.
        model: The model's id as the server knows it; for "embedded" the path of a GGUF model or adapter, the id of a
            repo on the Hub that has one, or nothing for the tagger that ships with the package; `INSTAG_MODEL`.
        revision: Which version of the model. For "embedded" it says which commit of a repo to fetch, and is the hash of
            the files from then on.
        recipe: How it is asked: a recipe, its name, or the path of a TOML file; the model's own by default.
        adapter: The LoRA adapter that the server applies, by its name there; none by default.
        structured: Whether the server holds the model to a list of tags in JSON; by default if the engine is "tgi"
            and the recipe's format is "json".
        sampling: How replies are drawn; greedy with the recipe's lengths and stops by default.
        column: The column to read; found from the dataset's columns by default.
        turns: Which user turns of a conversation are tagged: "all", "first" or "last".
        overwrite: Whether a dataset may already have the columns we add.
        parser: Version of the reply parser; not yours to set.

    Raises:
        InputError: The fields do not make a tagger; nothing was asked.

    Example:
        >>> Tagger(turns="last").recipe.name
        'embedded'
    """

    engine: str = ""
    model: str = ""
    revision: str = ""
    adapter: str = ""
    recipe: Recipe | str = ""
    structured: bool | None = None
    sampling: Sampling | None = None
    column: str | None = None
    turns: str = "all"
    overwrite: bool = False
    parser: str = PARSER

    def __post_init__(self) -> None:
        """Fill in the defaults, so that the fields say all that is asked."""
        engine = self.engine or os.environ.get("INSTAG_ENGINE") or "embedded"
        if engine not in KINDS:
            raise InputError(f"tagger: expected an engine of {list(KINDS)}, found {engine!r}.")
        if self.turns not in TURN_POLICIES:
            raise InputError(f"tagger: expected turns of {list(TURN_POLICIES)}, found {self.turns!r}.")
        model, revision = identity(engine, self.model or os.environ.get("INSTAG_MODEL") or "", self.revision)
        recipe = self.recipe or own_recipe(engine, model)
        recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
        structured = engine == "tgi" and recipe.format == "json" if self.structured is None else self.structured
        check_served(engine, adapter=self.adapter, structured=structured)
        if structured and recipe.format != "json":
            raise InputError(
                f"tagger: structured output is a list in JSON, and the recipe {recipe.name} asks for the format "
                f"{recipe.format}. Choose a recipe of the format json, or leave structured output off."
            )
        sampling = self.sampling or Sampling(max_tokens=recipe.max_tokens, stop=recipe.stop)
        found = {"engine": engine, "model": model, "revision": revision, "recipe": recipe, "sampling": sampling}
        found["structured"] = structured
        for name, value in {**found, "parser": PARSER}.items():
            object.__setattr__(self, name, value)

    def __call__(self, row: Row) -> Columns:
        """Tag one row and return its new columns as plain Python values, always exactly one row's."""
        return run(self._tag_row(row))

    @property
    def tag(self) -> Callable[[Row], Awaitable[Columns]]:
        """The function for `Dataset.map`: a coroutine function, so that `map` runs many rows at once.

        In a notebook a loop is already running; it is patched here, at the last moment before `map` needs it.

        Raises:
            InputError: The running loop is one that cannot be patched.
        """
        allow_nested_loop()
        return self._tag

    @property
    def name(self) -> str:
        """Who tags, for the column `instag_tagger`: `model@revision/recipe#hash`."""
        return _name(self)

    @property
    def facts(self) -> dict[str, Any]:
        """All that decides a query's tags; how queries are taken out of a row is not the tagger's identity."""
        whole = {**dataclasses.asdict(self), "model": self.model_name}
        return {name: whole[name] for name in FACTS}

    @property
    def hash(self) -> str:
        """The first 8 hex digits of the SHA-256 of `facts`; `$INSTAG_HOME` finds the facts by it."""
        return _hash(self)

    def request(self, query: str, *, max_tokens: int | None = None) -> Request:
        """Write the request for one query: exactly what the engine is sent."""
        sampling = self.sampling or Sampling(max_tokens=self.recipe_used.max_tokens)
        if max_tokens is not None:
            sampling = dataclasses.replace(sampling, max_tokens=max_tokens)
        return Request(
            prompt=self.recipe_used.ask(query),
            model=self.model_name,
            revision=self.revision,
            sampling=sampling,
            grammar=GRAMMAR if self.structured else None,
            adapter=self.adapter or None,
        )

    @property
    def recipe_used(self) -> Recipe:
        """The recipe itself, whichever way it was given."""
        return load_recipe(self.recipe) if isinstance(self.recipe, str) else self.recipe

    @property
    def model_name(self) -> str:
        """The model's id; of a file its name without the folder, which differs between machines."""
        return model_name(self.engine, self.model)

    async def _tag(self, rows: Row) -> Columns:
        try:
            return await in_turn(self._tag_rows(rows))
        except InstagError:
            # It stops the run. `map` looks at the first of its tasks only; asyncio would complain about all others.
            task = asyncio.current_task()
            if task is not None:
                task.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    async def _tag_rows(self, rows: Row) -> Columns:
        self._check_plain(rows)
        kind = _kind(rows)
        if kind == "LazyBatch" or (kind == "dict" and self._is_batch(rows)):
            columns = await self._tag_batch(rows)
            return _typed(columns, many=True) if kind == "LazyBatch" else columns
        columns = await self._tag_row(rows)
        return _typed(columns, many=False) if kind == "LazyRow" else columns

    def _check_plain(self, rows: Row) -> None:
        """Refuse what a formatted dataset hands over: its arrays and tables are no texts, and each row would fail."""
        value = rows[find_shape(rows.keys(), self.column).column] if isinstance(rows, Mapping) else rows
        if not isinstance(value, str) and (value is rows or hasattr(value, "tolist")):
            raise InputError(
                f"tag: expected plain rows, found {type(value).__name__}. Take the format off: "
                "ds.with_format(None).map(…)."
            )

    def _is_batch(self, rows: Row) -> bool:
        """Tell a batch from a row: all values lists of one length, and the query column no list of turns."""
        if not rows or not all(isinstance(value, list) for value in rows.values()):
            return False
        if len({len(value) for value in rows.values()}) != 1:
            return False
        value = rows[find_shape(rows.keys(), self.column).column]
        return not (value and all(isinstance(turn, Mapping) for turn in value))

    async def _tag_batch(self, batch: Row) -> Columns:
        names = list(batch.keys())
        check_columns(names, column=self.column, overwrite=self.overwrite)
        shape = find_shape(names, self.column)
        read = {name: batch[name] for name in (shape.column, *shape.context)}
        each = [dict(zip(read, values, strict=True)) for values in zip(*read.values(), strict=True)]
        tagged = await together(self._tag_row(row) for row in each)
        return {name: [columns[name] for columns in tagged] for name in ADDED}

    async def _tag_row(self, row: Row) -> Columns:
        check_columns(row.keys(), column=self.column, overwrite=self.overwrite)
        opened = store()
        _remember(opened, self)
        try:
            asked = queries(row, column=self.column, turns=self.turns)
            answers = await self._answer_all(asked, opened)
        except RowFailure as error:
            self._count(error)
            return {TAGS: [], EXPLANATIONS: [], TURNS: [], ERROR: f"{error.kind}: {error}", TAGGER: self.name}
        self._count(None)
        explained: dict[str, str] = {}
        for parsed in answers:
            for tag, explanation in zip(parsed.tags, parsed.explanations, strict=True):
                explained.setdefault(tag, explanation)
        turns = [len(parsed.tags) for parsed in answers]
        return {
            TAGS: list(explained),
            EXPLANATIONS: list(explained.values()),
            TURNS: turns,
            ERROR: "",
            TAGGER: self.name,
        }

    def _count(self, failure: RowFailure | None) -> None:
        """Stop a run whose last rows fail so often that the model cannot be the one the recipe is for."""
        if failure is not None and failure.kind == RowError.kind:
            return  # the data's fault, whoever tags it
        recent = _recent.setdefault(asyncio.get_running_loop(), {}).setdefault(self.hash, deque(maxlen=WINDOW))
        recent.append(failure.kind if failure else "")
        told = mostly_failed(recent, WINDOW, "rows") if failure else ""
        if told:
            recent.clear()
            raise EngineError(
                f"{self.name}: {told}, the last with: {failure}. "
                "Is it the model that the recipe is for? instag doctor asks it some probes. INSTAG_MAX_FAILURES is the "
                "share that may fail, 0 to 1. What was answered is kept."
            )

    def telemetry(self) -> "Telemetry | None":
        """Return what the server said of its own work in this process so far; `None` where there is no server."""
        return getattr(self._engine(), "telemetry", None)

    def _engine(self) -> Engine:
        return connect(self.engine, self.model, self.recipe_used.context_tokens, self.revision)

    async def _answer_all(self, asked: Sequence[str], opened: Store) -> list[Parsed]:
        """Tag the queries of one row side by side; the row fails with its first failed query, the replies are kept."""
        engine = self._engine()
        if len(asked) == 1:
            return [await self._answer(engine, asked[0], opened)]
        outcomes = await asyncio.gather(
            *(self._answer(engine, query, opened) for query in asked), return_exceptions=True
        )
        answers = []
        for number, outcome in enumerate(outcomes, 1):
            if isinstance(outcome, RowFailure):
                raise RowFailure(f"query {number} of {len(asked)}: {outcome}", kind=outcome.kind) from outcome
            if isinstance(outcome, BaseException):
                raise outcome
            answers.append(outcome)
        return answers

    async def _answer(self, engine: Engine, query: str, opened: Store) -> Parsed:
        """Ask for the tags of one query, once more with twice the tokens if the reply was cut by its length."""
        request = self.request(query)
        reply = await ask(engine, request, opened)
        if reply.finish_reason == "length":
            longer = self.request(query, max_tokens=2 * request.sampling.max_tokens)
            reply = await ask(engine, longer, opened, again=True)
        parsed = parse(reply.text, self.recipe_used.format, cut=reply.finish_reason == "length")
        if parsed.cut:
            raise ReplyError(f"{len(parsed.tags)} tags, then the reply was cut", kind="truncated")
        return parsed


def features() -> "Features":
    """Return the types of the columns we add, for `map(features=…)`."""
    from datasets import Features, List, Value

    texts = List(Value("string"))
    return Features(
        {TAGS: texts, EXPLANATIONS: texts, TURNS: List(Value("int32")), ERROR: Value("string"), TAGGER: Value("string")}
    )


@functools.lru_cache
def _hash(tagger: Tagger) -> str:
    return hash_facts(tagger.facts)


def hash_facts(facts: Mapping[str, Any]) -> str:
    """Hash what decides tags, as the column `instag_tagger` carries it; facts from JSON have the same hash."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]


@functools.lru_cache
def _name(tagger: Tagger) -> str:
    at = f"@{tagger.revision}" if tagger.revision else ""
    return f"{tagger.model_name}{at}/{tagger.recipe_used.name}#{tagger.hash}"


# How the last rows of each tagger ended in each loop: the kind of failure, or "".
_recent: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, deque[str]]] = weakref.WeakKeyDictionary()

_remembered: set[tuple[Path, str]] = set()


def _remember(opened: Store, tagger: Tagger) -> None:
    if (opened.path, tagger.hash) not in _remembered:
        opened.put_tagger(tagger.hash, tagger.facts)
        _remembered.add((opened.path, tagger.hash))


def _kind(rows: Row) -> str:
    """Name what `map` handed over, without importing `datasets`: whoever hands over its rows has imported it."""
    formatting = sys.modules.get("datasets.formatting.formatting")
    for name in ("LazyRow", "LazyBatch"):
        if formatting is not None and isinstance(rows, getattr(formatting, name)):
            return name
    return "dict"


def _typed(columns: Columns, *, many: bool) -> Columns:
    """Turn lists into arrays: only those type a column whose first thousand lists are all empty."""
    import numpy as np

    kinds: dict[str, Any] = {TAGS: str, EXPLANATIONS: str, TURNS: np.int32}
    arrays = {
        name: [np.array(value, dtype=kind) for value in columns[name]] if many else np.array(columns[name], dtype=kind)
        for name, kind in kinds.items()
    }
    return {**columns, **arrays}
