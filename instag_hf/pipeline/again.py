"""A published record in, the same run again out, and whether it gave the same rows."""

import dataclasses
import hashlib
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instag_hf import __version__, hub
from instag_hf.embeddings import MINILM
from instag_hf.engines import Sampling
from instag_hf.engines.embedded import MODEL
from instag_hf.errors import InputError
from instag_hf.normalizer import Settings
from instag_hf.parsing import PARSER
from instag_hf.pipeline import stages
from instag_hf.pipeline.files import load
from instag_hf.pipeline.whole import Excluded, Outcome, Plan, run
from instag_hf.prompts import load_recipe, read_recipe, recipe_names
from instag_hf.selection import InformationGain, Method
from instag_hf.selection.records import read_facts
from instag_hf.tagger import Tagger

if TYPE_CHECKING:
    from datasets import Dataset

MOST_BYTES = 50_000_000  # of a record
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPO = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Again:
    """How a run that was done again compares with what was published.

    Attributes:
        outcome: What it made now.
        same: Rows that are equal in all columns.
        missing: Published rows that it did not make.
        new: Rows that it made and that were not published.
        in_order: Whether the same rows also stand in the same order.
        notes: What here is not as it was recorded: package, tagger, recipe, parser, embedder.
    """

    outcome: Outcome
    same: int
    missing: int
    new: int
    in_order: bool
    notes: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether the rows are the published ones, in their order."""
        return self.in_order and not self.missing and not self.new

    def __str__(self) -> str:
        rows = f"{self.same:,} of {self.same + self.missing:,} published rows are the same"
        if self.identical:
            return f"identical: {rows}, in the same order"
        order = "" if self.missing or self.new else ", in another order"
        return f"different: {rows}{order}; {self.missing:,} were not made again, {self.new:,} are new"


def rerun(
    where: str | Path,
    output: str | Path | None = None,
    *,
    source: str = "",
    model: str = "",
    exclude: str = "",
    embedder: str = "",
    overwrite: bool = False,
    token: str | None = None,
    commands: tuple[str, ...] = (),
    tag: Callable[["Dataset", Tagger], "Dataset"] = stages.tag,
    on_stage: Callable[[str], None] = lambda doing: None,
) -> Again:
    """Do again what `instag.json` says was done, and compare the rows.

    Greedy decoding is not the same to the last bit on every machine. Where `$INSTAG_HOME` has the replies, rows are.

    Args:
        where: A dataset on the Hub, `owner/name` or `owner/name@revision`, or a folder that `run` wrote.
        output: The folder to write to, as `run` does; nothing is kept by default.
        source: Where the rows lie on this machine, if they were of a local file.
        model: Where the tagger's weights lie on this machine, if they were a local file.
        exclude: Where the excluded queries lie on this machine, if they were of a local file.
        embedder: Where the model that embeds tags lies on this machine, if it was a local folder.
        overwrite: Whether a folder that a run wrote may be replaced.
        token: The Hub's token; that of `hf auth login` or `HF_TOKEN` by default.
        commands: The commands that did it, for the card.
        tag: As in `run`.
        on_stage: As in `run`.

    Raises:
        InputError: The record is no record, or holds what cannot be repeated; the message names it.
        RepoError: There is no such repo.
        HubError: The Hub cannot be asked.
    """
    if os.path.isfile(where):  # unlike a `Path`, it takes a name of any length
        raise InputError(f"rerun: expected a dataset on the Hub or a folder that run wrote, found the file {where}.")
    folder, commit = (Path(where), "") if Path(where).is_dir() else hub.download(str(where), token=token)
    facts = read_record(folder / hub.FACTS)
    plan, notes = read_plan(facts, folder, source=source, model=model, exclude=exclude, embedder=embedder)
    published = _published(str(where), facts, folder, commit)
    with tempfile.TemporaryDirectory(prefix="instag-again-") as scratch:
        target = Path(scratch) / "again" if output is None else output
        charts = output is not None and bool(facts.get("charts"))
        how = {"overwrite": overwrite, "charts": charts, "commands": commands, "token": token}
        outcome = run(plan, target, tag=tag, on_stage=on_stage, **how)  # type: ignore[arg-type]
    weights = outcome.normalizer.settings.weights
    if weights != plan.normalizer.weights and not plan.vocabulary:
        notes.append(f"embedder: recorded {plan.normalizer.weights}, found {weights}.")
    found = compare_rows(published, outcome.subset)
    return Again(outcome=outcome, notes=tuple(notes), **found)


def read_record(path: Path) -> dict[str, Any]:
    """Read an `instag.json`, which anybody may have edited.

    Raises:
        InputError: There is none, or it is none of this version.
    """
    if not path.is_file():
        raise InputError(f"rerun: expected {hub.FACTS} in {path.parent.name}, found none. Was it written by instag?")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"rerun: expected a record of up to {MOST_BYTES:,} bytes, found {path.stat().st_size:,}.")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"rerun: expected {hub.FACTS} to be JSON, found something else: {error}") from error
    if not isinstance(facts, dict):
        raise _wrong("the whole", "an object", facts)
    if facts.get("format") != hub.FORMAT:
        raise _wrong("format", f"{hub.FORMAT}, which this version reads", facts.get("format"))
    return facts


def read_plan(
    facts: Mapping[str, Any],
    folder: Path,
    *,
    source: str = "",
    model: str = "",
    exclude: str = "",
    embedder: str = "",
) -> tuple[Plan, list[str]]:
    """Read from a record what was done.

    Args:
        facts: What `read_record` returned.
        folder: Where the record lies, and the folder `normalizer` beside it.
        source: As in `rerun`.
        model: As in `rerun`.
        exclude: As in `rerun`.
        embedder: As in `rerun`.

    Returns:
        The plan, and what here is not as it was recorded.

    Raises:
        InputError: Something is missing, malformed, or cannot be repeated; the message names it.
    """
    told = facts.get("run")
    if told is None:
        raise InputError(
            "rerun: expected a record of the whole way, found one of publish-dataset alone, which does not know how "
            "the rows were read. Only what instag run made can be done again."
        )
    chosen = facts.get("selection")
    if not isinstance(told, dict) or not isinstance(chosen, dict):
        raise _wrong("run and selection", "objects", [told, chosen])
    tagger, notes = _tagger(facts.get("taggers"), told, model)
    settings = _settings(facts.get("normalizer"))
    applied = told.get("vocabulary") is not None
    if not applied and "meaning" in settings.steps and settings.embedder is None:
        raise InputError("rerun: the embedder was a function, which no record holds, so that this cannot be repeated.")
    if not applied and settings.embedder is not None:
        settings = dataclasses.replace(settings, embedder=embedder or _embedder(settings.embedder))
    n, method, rules = read_facts(chosen)
    if facts.get("package") != f"instag_hf {__version__}":
        notes.insert(0, f"package: recorded {facts.get('package')!s:.40}, found instag_hf {__version__}.")
    plan = Plan(
        source=_source(facts.get("sources"), source),
        split=_optional(told, "split", str),
        limit=_optional(told, "limit", int),
        tagger=tagger,
        normalizer=settings,
        vocabulary=str(folder / "normalizer") if applied else "",
        n=n,
        method=_method(method, embedder),
        rules=rules,
        exclude=_exclude(told.get("exclude"), chosen, exclude),
    )
    return plan, notes


def compare_rows(published: "Dataset", made: "Dataset") -> dict[str, Any]:
    """Compare rows by all their columns, wherever they stand.

    Returns:
        `same`, `missing`, `new` and `in_order`, as `Again` has them.
    """
    before, after = list(_digests(published)), list(_digests(made))
    counted, now = Counter(before), Counter(after)
    same = (counted & now).total()
    return {"same": same, "missing": len(before) - same, "new": len(after) - same, "in_order": before == after}


def _digests(rows: "Dataset") -> Iterator[str]:
    for table in rows.with_format("arrow").iter(1_000):
        for row in table.to_pylist():
            yield hashlib.sha256(json.dumps(row, sort_keys=True, default=repr).encode()).hexdigest()


def _published(where: str, facts: Mapping[str, Any], folder: Path, commit: str) -> "Dataset":
    if not commit:
        return load(str(folder / hub.ROWS))
    return load(f"{where.partition('@')[0]}@{commit}", split=_optional(facts, "split", str))


def _source(found: Any, given: str) -> str:
    if given:
        return given
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        raise _wrong("sources", "one", found)
    name, commit = found[0].get("id"), found[0].get("revision")
    if commit is None:
        raise InputError(f"rerun: the rows were of a local file, {name!r}. Give it with source= (--source).")
    return _pinned("sources", f"{name}@{commit}")


def _pinned(place: str, name: str) -> str:
    """Refuse whatever is no dataset on the Hub at a commit: a record must not choose files of this machine."""
    repo, _, commit = name.partition("@")
    if not _REPO.fullmatch(repo) or not _COMMIT.fullmatch(commit):
        raise _wrong(place, "owner/name of a dataset on the Hub, and a commit", name)
    return name


def _exclude(found: Any, chosen: Mapping[str, Any], given: str) -> Excluded | None:
    if found is None:
        told = chosen["rules"].get("exclude")
        if told is not None:
            raise InputError(f"rerun: what was excluded ({told!s:.80}) has no name, so that this cannot be repeated.")
        return None
    if not isinstance(found, dict) or not isinstance(found.get("source"), str):
        raise _wrong("run: exclude", "a source and a column", found)
    name = found["source"]
    if not given and "@" not in name:
        raise InputError(f"rerun: what was excluded is a local file, {name!r}. Give it with exclude= (--exclude).")
    return Excluded(source=given or _pinned("run: exclude", name), column=_optional(found, "column", str))


def _settings(found: Any) -> Settings:
    told = found.get("settings") if isinstance(found, dict) else None
    names = {field.name for field in dataclasses.fields(Settings)}
    if not isinstance(told, dict) or set(told) != names:
        raise _wrong("normalizer: settings", f"the fields {sorted(names)}", told)
    try:
        settings = Settings(**told)
    except (InputError, TypeError) as error:
        raise InputError(f"rerun: normalizer: settings: {error}") from error
    for name in ("column", "embedder", "weights"):
        _optional(told, name, str)
    return settings


def _embedder(recorded: str) -> str:
    """Refuse whatever is no model on the Hub: a record must not choose folders of this machine."""
    if recorded != MINILM and ("/" not in recorded or not _REPO.fullmatch(recorded) or Path(recorded).exists()):
        raise InputError(f"rerun: the embedder was a local folder, {recorded!r}. Give it with embedder= (--embedder).")
    return recorded


def _method(recorded: Method, given: str) -> Method:
    """Give a method that embeds tags the embedder of this machine; a record must not choose its folders here either."""
    if not isinstance(recorded, InformationGain) or recorded.embedder is None:
        return recorded
    if not isinstance(recorded.embedder, str):
        raise _wrong("selection: settings: embedder", "str or nothing", recorded.embedder)
    return dataclasses.replace(recorded, embedder=given or _embedder(recorded.embedder))


def _tagger(found: Any, told: Mapping[str, Any], model: str) -> tuple[Tagger, list[str]]:
    """Make the tagger of a record, and say what about it is not as it was."""
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        raise _wrong("taggers", "one", found)
    facts = found[0].get("facts")
    if not isinstance(facts, dict):
        raise _wrong("taggers: facts", "the settings of a tagger", facts)
    engine, recorded = _needed(facts, "engine"), _needed(facts, "model")
    on_disk = engine == "embedded" or (engine == "local" and recorded.endswith(".gguf"))
    if not model and ((on_disk and recorded != MODEL) or Path(recorded).exists()):
        raise InputError(f"rerun: the tagger was a local file, {recorded!r}. Give it with model= (--model).")
    if engine == "text_generation":
        raise InputError("rerun: the tagger was a client made by hand, so that this cannot be repeated from a record.")
    recipe = _recipe(facts.get("recipe"))
    tagger = Tagger(
        engine=engine,
        model=model or recorded,
        revision="" if on_disk else _optional(facts, "revision", str) or "",
        adapter=_optional(facts, "adapter", str) or "",
        recipe=recipe,
        structured=_optional(facts, "structured", bool),
        sampling=_sampling(facts.get("sampling")),
        column=_optional(told, "column", str),
        turns=_optional(told, "turns", str) or "all",
        overwrite=bool(_optional(told, "overwrite", bool)),
    )
    notes = []
    if recipe.name in recipe_names() and load_recipe(recipe.name).sha256 != recipe.sha256:
        notes.append(f"recipe: {recipe.name} is another in this version; rows are tagged with the recorded one.")
    if facts.get("parser") != PARSER:
        notes.append(f"parser: recorded version {facts.get('parser')!s:.20}, found {PARSER}.")
    for name in ("model", "revision"):
        if tagger.facts[name] != facts.get(name):
            notes.append(f"tagger: {name}: recorded {facts.get(name)!s:.80}, found {tagger.facts[name]}.")
    return tagger, notes


def _recipe(found: Any) -> Any:
    if not isinstance(found, dict):
        raise _wrong("taggers: recipe", "an object", found)
    fields = dict(found)
    name, prompt = _needed(fields, "name"), fields.get("prompt")
    del fields["name"]
    if isinstance(prompt, list):
        if not all(isinstance(turn, list) and len(turn) == 2 for turn in prompt):
            raise _wrong("taggers: recipe: prompt", "pairs of a role and a text", prompt)
        fields["messages"] = [{"role": role, "content": content} for role, content in fields.pop("prompt")]
    return read_recipe(name, fields)


def _sampling(found: Any) -> Sampling:
    kinds: dict[str, tuple[type, ...]] = {
        "max_tokens": (int,),
        "temperature": (int, float),
        "top_p": (int, float),
        "stop": (list,),
        "seed": (int, type(None)),
    }
    if not isinstance(found, dict) or set(found) != set(kinds):
        raise _wrong("taggers: sampling", f"the fields {sorted(kinds)}", found)
    for name, kind in kinds.items():
        if not isinstance(found[name], kind) or isinstance(found[name], bool):
            raise _wrong(f"taggers: sampling: {name}", " or ".join(each.__name__ for each in kind), found[name])
    return Sampling(**{**found, "stop": tuple(map(str, found["stop"]))})


def _needed(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not value:
        raise _wrong(name, "a text", value)
    return value


def _optional(found: Mapping[str, Any], name: str, kind: type) -> Any:
    value = found.get(name)
    if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
        raise _wrong(name, f"{kind.__name__} or nothing", value)
    return value


def _wrong(place: str, expected: str, found: Any) -> InputError:
    return InputError(
        f"rerun: {hub.FACTS}: {place}: expected {expected}, found {str(found)[:200]!r}. Take it as it was published."
    )
