"""MT-Bench's questions, reference answers and judge prompts, read at run time from where their owners publish them."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from instag_hf.errors import InputError
from instag_hf.rows import clean
from instag_hf.rows.written import write_whole

# Where the files lie in a plain folder, a FastChat checkout, FastChat's data folder, and that of one benchmark.
QUESTIONS = ("question.jsonl", "mt_bench/question.jsonl", "data/mt_bench/question.jsonl")
PROMPTS = ("judge_prompts.jsonl", "data/judge_prompts.jsonl")
REFERENCES = (
    "reference_answer_gpt-4.jsonl",
    "reference_answer/gpt-4.jsonl",
    "mt_bench/reference_answer/gpt-4.jsonl",
    "data/mt_bench/reference_answer/gpt-4.jsonl",
)
CHECKOUT = "fastchat/llm_judge/"

NEED_REFERENCE = ("math", "reasoning", "coding")
TURNS = (1, 2)
# The official name of the prompt, by whether there is a reference and by turn.
PROMPT_NAMES = {
    (False, 1): "single-v1",
    (True, 1): "single-math-v1",
    (False, 2): "single-v1-multi-turn",
    (True, 2): "single-math-v1-multi-turn",
}

_FIELD = re.compile(r"\{(\w+)\}")


class Question(NamedTuple):
    """A question of one or two turns, and the reference answers to them, or none."""

    id: int
    category: str
    turns: tuple[str, ...]
    references: tuple[str, ...] = ()


class JudgePrompt(NamedTuple):
    """What a judge is told: a system message, and a template with fields such as `{question}` in it."""

    name: str
    system: str
    template: str

    def fill(self, fields: Mapping[str, str]) -> str:
        """Put texts into the fields; nothing in a text is a field itself.

        Raises:
            InputError: The template has a field that there is no text for.
        """
        if unknown := sorted(set(_FIELD.findall(self.template)) - set(fields)):
            raise InputError(
                f"mt-bench: expected fields of {sorted(fields)} in the prompt {self.name}, found {unknown}."
            )
        return _FIELD.sub(lambda found: fields[found[1]], self.template)


class Bench(NamedTuple):
    """All that is asked of a model and of its judge."""

    questions: tuple[Question, ...]
    prompts: dict[str, JudgePrompt]

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories in the questions' order."""
        return tuple(dict.fromkeys(question.category for question in self.questions))

    @property
    def turns(self) -> list[tuple[Question, int]]:
        """Every turn to judge: a question and the turn's number from 1."""
        return [(question, turn) for turn in TURNS for question in self.questions if turn <= len(question.turns)]

    @property
    def sha256(self) -> str:
        """The hash of every word in it."""
        return hashlib.sha256(json.dumps([self.questions, self.prompts], sort_keys=True).encode()).hexdigest()

    def prompt(self, question: Question, turn: int) -> JudgePrompt:
        """Choose the prompt for a turn, as FastChat does: by whether the question's category needs a reference."""
        return self.prompts[PROMPT_NAMES[question.category in NEED_REFERENCE, turn]]

    def ask_judge(self, question: Question, turn: int, answers: Sequence[str]) -> tuple[str, str]:
        """Write what the judge is asked about one turn.

        Args:
            question: What the model was asked.
            turn: Which turn is judged, 1 or 2; for the second the judge sees the first too.
            answers: The model's answers up to that turn.

        Returns:
            The system message and the user's message.
        """
        prompt = self.prompt(question, turn)
        fields = {f"ref_answer_{number}": text for number, text in enumerate(question.references, 1)}
        if turn == 1:
            fields |= {"question": question.turns[0], "answer": answers[0]}
        else:
            fields |= {f"question_{number}": question.turns[number - 1] for number in TURNS}
            fields |= {f"answer_{number}": answers[number - 1] for number in TURNS}
        return prompt.system, prompt.fill(fields)


def read_bench(source: str | Path, *, prompts: str | Path = "", references: str | Path = "") -> Bench:
    """Read MT-Bench from a folder, a FastChat checkout or a dataset on the Hub.

    Args:
        source: A folder or a Hub dataset with `question.jsonl`, judge prompts and reference answers under FastChat's
            names, a checkout of FastChat, or a file of questions.
        prompts: The file of judge prompts, where it lies elsewhere.
        references: The file of reference answers, where it lies elsewhere.

    Raises:
        InputError: A file is not there, or does not hold what it should.
    """
    folder = Path(source) if Path(source).exists() else _fetch(str(source))
    if folder.is_file():
        folder, asked = folder.parent, folder
    else:
        asked = _find(folder, QUESTIONS, "questions", "")
    judged = Path(prompts) if prompts else _find(folder, PROMPTS, "judge prompts", "prompts= (--prompts)")
    answered = (
        Path(references) if references else _find(folder, REFERENCES, "reference answers", "references= (--references)")
    )
    answers = dict(_references(answered))
    questions = tuple(_question(row, answers, asked) for row in read_lines(asked))
    if not questions or len({question.id for question in questions}) < len(questions):
        raise InputError(
            f"mt-bench: expected questions with an id of their own each in {asked}, found {len(questions)}."
        )
    bench = Bench(questions, _prompts(judged))
    for question, turn in bench.turns:  # a template with a field too many is told before anybody is asked
        bench.ask_judge(question, turn, ("",) * turn)
    return bench


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read the objects of a JSONL file, one a line.

    Raises:
        InputError: The file is not there, or a line holds no JSON object.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"mt-bench: could not read {path}: {error}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"mt-bench: expected JSON in {path.name}, line {number}, found {error}.") from error
        if not isinstance(row, dict):
            raise InputError(f"mt-bench: expected an object in {path.name}, line {number}, found {line[:40]!r}.")
        yield row


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a file of lines whole or not at all, in a folder that is made where it is not there.

    Raises:
        InputError: It cannot be written; a file that was there is as it was.
    """
    try:
        write_whole(path, "".join(lines))
    except OSError as error:
        raise InputError(f"mt-bench: could not write {path}: {error}. Choose another folder.") from error


def texts(value: object, where: str) -> tuple[str, ...]:
    """Take a list of texts, with lone surrogates made into what can be sent and written.

    Raises:
        InputError: It is none.
    """
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise InputError(f"mt-bench: expected a list of texts in {where}, found {str(value)[:80]!r}.")
    return tuple(map(clean, value))


def number(value: object, where: str) -> int:
    """Take a whole number as it is.

    Raises:
        InputError: It is none.
    """
    if type(value) is not int:
        raise InputError(f"mt-bench: expected a whole number in {where}, found {str(value)[:40]!r}.")
    return value


def _question(row: Mapping[str, Any], references: Mapping[int, tuple[str, ...]], path: Path) -> Question:
    ident = number(row.get("question_id"), f"{path.name}, question_id")
    turns = texts(row.get("turns"), f"{path.name}, question {ident}, turns")
    if len(turns) > len(TURNS):
        raise InputError(f"mt-bench: expected one or two turns in question {ident}, found {len(turns)}.")
    category = row.get("category")
    if not isinstance(category, str) or not category:  # it decides the temperature, the reference and the prompt
        raise InputError(f"mt-bench: expected a category of question {ident} in {path.name}, found {category!r}.")
    found = references.get(ident, ()) if category in NEED_REFERENCE else ()
    if category in NEED_REFERENCE and len(found) < len(turns):
        raise InputError(
            f"mt-bench: expected a reference answer to each turn of question {ident} ({category}), found {len(found)} "
            f"of {len(turns)}. Name the file with references= (--references)."
        )
    return Question(ident, category, turns, found)


def _references(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    for row in read_lines(path):
        ident = number(row.get("question_id"), f"{path.name}, question_id")
        yield ident, first_choice(row, path)


def first_choice(row: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Take the turns of a FastChat answer; of several choices the first counts, as in FastChat.

    Raises:
        InputError: It is no answer.
    """
    try:
        turns = row["choices"][0]["turns"]
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(
            f'mt-bench: expected "choices" with "turns" in {path.name}, question {row.get("question_id")}, found none.'
        ) from error
    return texts(turns, f"{path.name}, question {row.get('question_id')}, turns")


def _prompts(path: Path) -> dict[str, JudgePrompt]:
    found = {
        row["name"]: JudgePrompt(
            row["name"], *(_words(row, field, path) for field in ("system_prompt", "prompt_template"))
        )
        for row in read_lines(path)
        if row.get("name") in PROMPT_NAMES.values() and row.get("output_format") == "[[rating]]"
    }
    if missing := sorted(set(PROMPT_NAMES.values()) - set(found)):
        raise InputError(f"mt-bench: expected the judge prompts {missing} in {path}, found none of that name.")
    return found


def _words(row: Mapping[str, Any], field: str, path: Path) -> str:
    (text,) = texts([row.get(field)], f"{path.name}, {row['name']}, {field}")
    return text


def _find(folder: Path, names: Sequence[str], what: str, remedy: str) -> Path:
    for name in names:
        for path in (folder / name, folder / (CHECKOUT + name)):
            if path.is_file():
                return path
    told = f" Name the file with {remedy}." if remedy else " Give FastChat's checkout, or a folder with its files."
    raise InputError(f"mt-bench: expected {what} in {folder}, as {names[0]}, found no such file.{told}")


def _fetch(repo: str) -> Path:
    """Fetch a dataset's files from the Hub, those alone that can be ours."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [*QUESTIONS, *PROMPTS, *REFERENCES]
    try:
        return Path(huggingface_hub.snapshot_download(repo, repo_type="dataset", allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"mt-bench: expected a folder, a file of questions or a dataset on the Hub, found {repo!r}: {error}."
        ) from error
