"""Which model an engine runs, told the same on every machine: its name, its revision, the recipe it is asked with."""

import os
from pathlib import Path

from instag_hf.engines import KINDS, embedded
from instag_hf.engines.openai import served_models
from instag_hf.errors import InputError
from instag_hf.prompts import Recipe, load_recipe, recipe_for

CHATTING = tuple(kind for kind in KINDS if kind != "text_generation")  # its client takes raw prompts alone


def own_recipe(engine: str, model: str) -> Recipe:
    """Choose the recipe that a model was trained with, else the one that names it.

    Raises:
        InputError: The record of its training is broken, or names a recipe that is not one of this version's.
    """
    if engine == "embedded":
        return embedded.trained_recipe(model) or load_recipe("embedded")
    return (embedded.trained_recipe(model) if engine == "local" else None) or recipe_for(model)


def check_served(engine: str, *, adapter: str, structured: bool) -> None:
    """Refuse what an engine would pass over in silence, so that no tags go out under a wrong name.

    Raises:
        InputError: The engine knows no adapters by name, or cannot hold a model to a list.
    """
    if adapter and engine in {"embedded", "local"}:
        raise InputError(
            f"tagger: expected no adapter=, for the engine {engine} has none by name, found {adapter!r}. Give the "
            "adapter's file, or a folder with it merged, as model=, or choose the engine tgi or openai."
        )
    if structured and engine == "local":
        raise InputError(
            "tagger: expected structured output to be off, which the engine local cannot hold a model to. "
            "Choose the engine embedded, tgi or openai."
        )


def model_name(engine: str, model: str) -> str:
    """Name a model the same on every machine: a file by its name alone."""
    on_disk = engine in {"embedded", "local"} and os.path.exists(model)
    return os.path.basename(os.path.abspath(model)) if on_disk else model


def identity(engine: str, model: str, revision: str, *, who: str = "tagger") -> tuple[str, str]:
    """Return the model and the revision that an engine will run; `who` begins the message of an error.

    Raises:
        InputError: The engine needs a model's id, or there is no such file.
    """
    if engine == "embedded":
        model = embedded.fetch(model or embedded.MODEL, revision or None)
    if engine == "embedded" or (engine == "local" and (model == embedded.MODEL or model.endswith(".gguf"))):
        return model, embedded.revision_of(model)
    if engine == "local" and Path(model or "-").is_dir():
        return model, embedded.revision_of_folder(Path(model))
    if not model:
        served = served_models()
        reports = f" The server reports {served}." if served else ""
        raise InputError(
            f"{who}: engine {engine} needs the model's id. Give model= (--model) or set INSTAG_MODEL.{reports}"
        )
    return model, revision


def chat_identity(engine: str, model: str, revision: str, *, who: str) -> tuple[str, str, str]:
    """Return the engine, the model and the revision of a chat model, with defaults from `INSTAG_*` filled in.

    Raises:
        InputError: The engine cannot chat, the model is one that can only tag, or `identity` says so.
    """
    engine = engine or os.environ.get("INSTAG_ENGINE") or "openai"
    if engine not in CHATTING:
        raise InputError(f"{who}: expected an engine of {list(CHATTING)}, found {engine!r}.")
    model, revision = identity(engine, model or os.environ.get("INSTAG_MODEL") or "", revision, who=who)
    if model == embedded.MODEL:
        raise InputError(
            f"{who}: expected a chat model, found {model!r}, which can only tag. "
            "Give model= (--model), or choose an engine with a server."
        )
    return engine, model, revision
