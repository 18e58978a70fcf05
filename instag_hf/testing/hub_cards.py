"""What the Hub refuses in the YAML of a card."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from instag_hf.cards.filling import LICENSES, SIZES

_BLOCK = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|\Z)", re.DOTALL)
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*|code|multilingual")
_TEXTS = ("tags", "task_categories", "task_ids", "annotations_creators", "source_datasets", "datasets")


def problems(content: str) -> Iterator[str]:
    """Say what is wrong with a card's YAML, one sentence each."""
    found = _BLOCK.match(content)
    if found is None:
        return
    try:
        data = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        yield f"YAML: {' '.join(str(error).split())}"
        return
    if data is None:
        return
    if not isinstance(data, Mapping):
        yield "YAML: expected a mapping"
        return
    yield from _choice(data, "license", LICENSES)
    yield from _choice(data, "size_categories", SIZES)
    for language in _listed(data.get("language")):
        if not isinstance(language, str) or not _LANGUAGE.fullmatch(language):
            yield f'"language" must be ISO 639 codes, found {language!r}'
    for name in _TEXTS:
        if name in data and not all(isinstance(item, str) for item in _listed(data[name])):
            yield f'"{name}" must be an array of strings'
    yield from _configs(data.get("configs", []))
    if not isinstance(data.get("dataset_info", {}), Mapping | list):
        yield '"dataset_info" must be an object or an array'


def data_of(content: str) -> dict[str, Any]:
    """Read a card's YAML where it has any that can be read."""
    found = _BLOCK.match(content)
    try:
        data = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        return {}
    return data if isinstance(data, dict) else {}


def _choice(data: Mapping[str, Any], name: str, known: frozenset[str]) -> Iterator[str]:
    for value in _listed(data.get(name)):
        if not isinstance(value, str) or value not in known:
            yield f'"{name}" must be one of the known values, found {value!r}'


def _configs(configs: Any) -> Iterator[str]:
    if not isinstance(configs, list):
        yield '"configs" must be an array'
        return
    names = [config.get("config_name") if isinstance(config, Mapping) else None for config in configs]
    if not all(isinstance(name, str) for name in names):
        yield '"configs[].config_name" must be a string'
    elif len(set(names)) != len(names):
        yield '"configs[].config_name" must be unique'


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]
