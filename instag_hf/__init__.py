"""InsTag for the Hugging Face ecosystem: tag instruction data by intention, with `ds.map(instag.tag)`.

Names are loaded when they are first used, so that importing the package costs milliseconds.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from instag_hf.agreement import tag_f1
    from instag_hf.analysis import Report, report
    from instag_hf.engines import Sampling
    from instag_hf.errors import (
        AccessError,
        EngineError,
        HubError,
        InputError,
        InstagError,
        MissingError,
        RefusedError,
        ReplyError,
        RepoError,
        RowError,
        RowFailure,
        StoreError,
        Unreachable,
    )
    from instag_hf.hub import publish_dataset, publish_model, publish_normalizer
    from instag_hf.mtbench import Scores
    from instag_hf.normalizer import TagNormalizer
    from instag_hf.prompts import Recipe, load_recipe
    from instag_hf.rows.adopting import adopt_tags
    from instag_hf.selection import Selection, select
    from instag_hf.selection.comparing import compare
    from instag_hf.tagger import Tagger
    from instag_hf.training import train

    tag = Tagger().tag

_ROOMS = {
    "AccessError": "errors",
    "HubError": "errors",
    "RepoError": "errors",
    "EngineError": "errors",
    "InputError": "errors",
    "InstagError": "errors",
    "MissingError": "errors",
    "RefusedError": "errors",
    "ReplyError": "errors",
    "RowError": "errors",
    "RowFailure": "errors",
    "StoreError": "errors",
    "Unreachable": "errors",
    "Sampling": "engines",
    "Recipe": "prompts",
    "load_recipe": "prompts",
    "TagNormalizer": "normalizer",
    "Tagger": "tagger",
    "adopt_tags": "rows.adopting",
    "publish_dataset": "hub",
    "publish_model": "hub",
    "publish_normalizer": "hub",
    "tag_f1": "agreement",
    "Report": "analysis",
    "report": "analysis",
    "Selection": "selection",
    "select": "selection",
    "compare": "selection.comparing",
    "train": "training",
    "Scores": "mtbench",
}

__all__ = [
    "AccessError",
    "EngineError",
    "HubError",
    "InputError",
    "InstagError",
    "MissingError",
    "Recipe",
    "RefusedError",
    "ReplyError",
    "RepoError",
    "Report",
    "RowError",
    "RowFailure",
    "Sampling",
    "Scores",
    "Selection",
    "StoreError",
    "TagNormalizer",
    "Tagger",
    "Unreachable",
    "adopt_tags",
    "compare",
    "load_recipe",
    "metric",
    "publish_dataset",
    "publish_model",
    "publish_normalizer",
    "report",
    "select",
    "tag",
    "tag_f1",
    "train",
]


def metric(name: str) -> str:
    """Return the path of one of our metrics, for `evaluate.load`, which works offline.

    Raises:
        InputError: There is no such metric.

    Example:
        >>> metric("tag_f1").endswith("tag_f1.py")
        True
    """
    from instag_hf.errors import InputError

    folder = Path(__file__).parent / "metrics"
    path = folder / f"{name}.py"
    if not name.isidentifier() or not path.is_file():
        known = sorted(found.stem for found in folder.glob("[a-z]*.py"))
        raise InputError(f"metric: expected one of {known}, found {name!r}.")
    return str(path)


def __getattr__(name: str) -> Any:
    if name == "tag":  # the bound method of a Tagger made now, so that map's fingerprint holds what is asked
        return __getattr__("Tagger")().tag
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
