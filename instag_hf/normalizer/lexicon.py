"""The word lists of `words.toml`, read once."""

import functools
import tomllib
from pathlib import Path


@functools.cache
def _lists() -> dict[str, dict[str, str]]:
    return tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))


def words(section: str, name: str) -> list[str]:
    """Return a list of words."""
    return _lists()[section][name].split()


def pairs(section: str, name: str) -> list[tuple[str, str]]:
    """Return a list of pairs."""
    found = [pair.split() for pair in _lists()[section][name].split(",")]
    return [(one, other) for one, other in found]


def phrases(section: str, name: str) -> dict[str, tuple[str, ...]]:
    """Return what each first word stands for."""
    found = [phrase.split() for phrase in _lists()[section][name].split(",")]
    return {short: tuple(words) for short, *words in found}
