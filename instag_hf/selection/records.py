"""A selection in, plain values for JSON out, and back: what must be known to choose the same rows again."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from instag_hf.embeddings import shared_name
from instag_hf.errors import InputError
from instag_hf.selection import METHODS, Method, Rules, Selection, check_n

if TYPE_CHECKING:
    from instag_hf.selection.pool import Bounds

UNKNOWN = "not in a file"  # the key under which stands what JSON cannot hold
LIMITS = ("per_tag", "per_source")


def facts_of(selection: Selection) -> dict[str, Any]:
    """Write a selection as plain values.

    What a file cannot hold, such as the texts of `exclude` or a function that embeds, is told in words under the key
    "not in a file", so that nobody takes the record for whole.

    Returns:
        `method`, its `settings`, the `rules`, and how many rows were asked for, could not be chosen, and were there.
    """
    return {
        "method": selection.method.name,
        "settings": _settings(selection.method),
        "rules": _rules(selection.rules),
        "asked for": selection.asked,
        **{f"not eligible, {why}": count for why, count in sorted(selection.skipped.items())},
        "pool_rows": selection.pool_rows,
    }


def flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Lay out the facts of a selection for people: one line, without what was left alone or is told elsewhere."""
    told = {"method": facts.get("method"), **facts.get("settings", {}), **facts, **facts.get("rules", {})}
    return {
        name: value
        for name, value in told.items()
        if name not in {"settings", "rules", "pool_rows"} and value is not None and value is not False
    }


def read_facts(facts: Mapping[str, Any], *, exclude: Any = None) -> tuple[int, Method, Rules]:
    """Read what `facts_of` wrote.

    Args:
        facts: The facts, from a file that anybody may have edited.
        exclude: What `Rules.exclude` was, which no file holds.

    Returns:
        How many rows to choose, how, and the rules.

    Raises:
        InputError: Something is missing, or cannot be; the message names it.
    """
    settings, rules = (_mapping(facts, name) for name in ("settings", "rules"))
    kind = METHODS.get(str(facts.get("method")))
    if kind is None:
        raise _wrong("method", f"one of {list(METHODS)}", facts.get("method"))
    for name, value in settings.items():
        if isinstance(value, Mapping):
            raise _wrong(f"settings: {name}", "a value that a file can hold", value.get(UNKNOWN, value))
    n = facts.get("asked for")
    try:
        check_n(n)  # type: ignore[arg-type]
        method: Method = kind(**settings)
        limits = {name: _bounds(name, rules.get(name)) for name in LIMITS}
        return int(n or 0), method, Rules(**{**rules, **limits, "exclude": exclude})
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"selection: expected the record of one, found that it cannot be: {error}") from error


def _settings(method: Method) -> dict[str, Any]:
    if not dataclasses.is_dataclass(method):
        return {UNKNOWN: type(method).__qualname__}
    fields = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
    if isinstance(fields.get("embedder"), str):
        fields["embedder"] = shared_name(fields["embedder"])
    return {name: _function(value) if callable(value) else value for name, value in fields.items()}


def _function(value: Any) -> dict[str, str]:
    return {UNKNOWN: f"the function {getattr(value, '__qualname__', type(value).__qualname__)}"}


def _rules(rules: Rules) -> dict[str, Any]:
    """Leave out what had no say: the names of columns that were not read, and `match` without `exclude`."""
    found = {field.name: getattr(rules, field.name) for field in dataclasses.fields(rules)}
    idle = {"source_column": rules.per_source is None, "match": rules.exclude is None}
    found |= {name: _plain(found[name]) for name in LIMITS}
    if rules.exclude is not None:
        known = hasattr(rules.exclude, "__len__")
        found["exclude"] = {UNKNOWN: f"{len(rules.exclude):,} queries" if known else "queries"}  # type: ignore[arg-type]
    return {name: value for name, value in found.items() if value is not None and not idle.get(name)}


def _plain(bounds: "Bounds | None") -> Any:
    if isinstance(bounds, Mapping):
        return {name: list(bound) if isinstance(bound, tuple) else bound for name, bound in bounds.items()}
    return list(bounds) if isinstance(bounds, tuple) else bounds


def _bounds(name: str, found: Any) -> Any:
    if isinstance(found, Mapping):
        return {key: _bound(f"{name}: {key}", value) for key, value in found.items()}
    return None if found is None else _bound(name, found)


def _bound(place: str, found: Any) -> int | tuple[int, int | None]:
    if isinstance(found, list) and len(found) == 2 and _whole(found[0]) and (found[1] is None or _whole(found[1])):
        return found[0], found[1]
    if not _whole(found):
        raise _wrong(f"rules: {place}", "a number of rows, or the least and the most", found)
    return int(found)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _mapping(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = facts.get(name)
    if not isinstance(found, Mapping):
        raise _wrong(name, "an object", found)
    return dict(found)


def _wrong(place: str, expected: str, found: Any) -> InputError:
    return InputError(f"selection: {place}: expected {expected}, found {str(found)[:200]!r}.")
