"""Query in, prompt out, exactly as a checkpoint was trained to see it.

A *recipe* pins everything that decides what a tagger is asked and how its answer is read. Recipes are small TOML files:
ours are in `recipes/`, a user's own is given by its path, and both go through the same function. A recipe's content is
state of every Tagger, so a changed word means new replies.
"""

import dataclasses
import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from instag_hf.errors import InputError
from instag_hf.rows import cut

RECIPES = Path(__file__).parent / "recipes"
QUERY = "{query}"
FORMATS = ("compact", "json")


class Message(NamedTuple):
    """One turn of a chat prompt."""

    role: str
    content: str


Prompt = str | tuple[Message, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one kind of checkpoint is asked, and how its reply is read.

    Attributes:
        name: What `--recipe` calls it.
        format: How the reply is written: "compact" or "json".
        prompt: The raw prompt with `{query}` in it once, or the messages of a chat, one of which has it.
        stop: Strings that end the reply.
        markers: The checkpoint's control strings, broken up where a query contains them.
        max_tokens: Length of a reply in tokens; a reply that is cut is asked for once more with twice as many.
        max_query_bytes: Length of a query in bytes of UTF-8; a longer one keeps its beginning and end.
        models: Model ids that this recipe is the default of.
    """

    name: str
    format: str
    prompt: Prompt
    stop: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    max_tokens: int = 512
    max_query_bytes: int = 4000
    models: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """The hash of all that reaches the model or the parser; the name and the list of models do not."""
        facts = {**dataclasses.asdict(self), "name": None, "models": None}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def context_tokens(self) -> int:
        """Tokens that the longest query, its prompt and a reply asked for twice as long may take.

        A token is at least one byte, so a bound in bytes is one in tokens. A multiple of 64, as llama.cpp likes it.
        """
        texts = [self.prompt] if isinstance(self.prompt, str) else [message.content for message in self.prompt]
        most = self.max_query_bytes + sum(len(text.encode()) for text in texts) + 2 * self.max_tokens
        return -(-most // 64) * 64

    def ask(self, query: str) -> Prompt:
        """Write the prompt for one query.

        The query is cut to `max_query_bytes`, and the checkpoint's control strings in it are broken by a space, so
        that no text of a dataset can end its own turn and speak as the tagger.
        """
        query = self._broken(cut(self._broken(query), self.max_query_bytes))  # what a cut joins can be such a string
        if isinstance(self.prompt, str):
            return _fill(self.prompt, query)
        return tuple(Message(role, _fill(content, query)) for role, content in self.prompt)

    def _broken(self, query: str) -> str:
        for marker in self.markers:
            query = query.replace(marker, marker[:1] + " " + marker[1:])
        return query


def load_recipe(name: str) -> Recipe:
    r"""Load a recipe by its name, or a user's own by the path of its TOML file.

    Raises:
        InputError: There is no such recipe, the file is not a recipe, or it asks otherwise than ours of its name.

    Example:
        >>> load_recipe("embedded").ask("Hi")
        '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n'
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file() or (not name.endswith(".toml") and name not in recipe_names()):
        raise InputError(f"recipe: expected one of {recipe_names()} or the path of a TOML file, found {name!r}.")
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {name}: expected TOML, found {error}.") from error
    fields.pop("self_test", None)
    recipe = read_recipe(path.stem, fields)
    if name.endswith(".toml") and path.stem in recipe_names() and load_recipe(path.stem).sha256 != recipe.sha256:
        raise InputError(
            f"recipe {name}: expected a name of its own, found that of our recipe {path.stem}, which asks otherwise. "
            "Rename the file, for rows carry the name, and a report would count by ours."
        )
    return recipe


def read_recipe(name: str, fields: dict[str, Any]) -> Recipe:
    """Make a recipe of the keys of its TOML file, which anybody may have written.

    Raises:
        InputError: A key is missing, unknown, or of the wrong kind.
    """
    messages = fields.pop("messages", None)
    known = {field.name for field in dataclasses.fields(Recipe)} - {"name"}
    unknown = sorted(set(fields) - known)
    if unknown:
        raise InputError(f"recipe {name}: expected the keys {sorted(known | {'messages'})}, found also {unknown}.")
    if ("prompt" in fields) == (messages is not None):
        raise InputError(f'recipe {name}: expected either "prompt" or [[messages]], found both or neither.')
    if messages is not None:
        fields["prompt"] = tuple(_message(name, message) for message in messages)
    _check_types(name, fields)
    texts = [fields["prompt"]] if isinstance(fields["prompt"], str) else [text for _, text in fields["prompt"]]
    if "".join(texts).count(QUERY) != 1:
        raise InputError(
            f"recipe {name}: expected {QUERY} once in the prompt, found it {''.join(texts).count(QUERY)} times."
        )
    if fields["format"] not in FORMATS:
        raise InputError(f"recipe {name}: expected a format of {list(FORMATS)}, found {fields['format']!r}.")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return Recipe(name=name, **values)


def recipe_names() -> list[str]:
    """List the names of the recipes that ship with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def recipe_for(model: str) -> Recipe:
    """Choose the recipe of a model by its id; "open" is right for any chat model without one of its own."""
    recipes = [load_recipe(name) for name in recipe_names()]
    return next((recipe for recipe in recipes if model in recipe.models), load_recipe("open"))


def _message(name: str, message: object) -> Message:
    if not isinstance(message, dict) or set(message) != {"role", "content"}:
        raise InputError(f'recipe {name}: expected [[messages]] with "role" and "content", found {message!r}.')
    return Message(str(message["role"]), str(message["content"]))


def _check_types(name: str, fields: dict[str, Any]) -> None:
    for key, value in {"format": None, **fields}.items():
        if key in {"stop", "markers", "models"}:
            called = "a list of texts, none of them empty"
            fits = isinstance(value, list) and all(isinstance(item, str) and item for item in value)
        elif key in {"max_tokens", "max_query_bytes"}:
            called = "a whole number above 0"
            fits = isinstance(value, int) and not isinstance(value, bool) and value > 0
        else:
            called = "a text"
            fits = isinstance(value, str) or (key == "prompt" and isinstance(value, tuple))
        if not fits:
            raise InputError(
                f"recipe {name}: expected {key} to be {called}, found {value!r}. "
                f"Compare the recipes in {RECIPES.name}/."
            )


def _fill(template: str, query: str) -> str:
    before, found, after = template.partition(QUERY)
    return before + query + after if found else template
