"""A dataset in, one of its equal parts out, for one of several machines; all parts in, the whole out.

Shards are counted from 0 and named as the files of a dataset on the Hub are: `…-00002-of-00004.parquet`.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from instag_hf.errors import InputError
from instag_hf.hub.tables import taggers_of
from instag_hf.pipeline.files import load, load_hub
from instag_hf.rows import TAGGER

if TYPE_CHECKING:
    from datasets import Dataset

_NAMED = re.compile(r"(\d{5})[-_]of[-_](\d{5})$")


class Shard(NamedTuple):
    """One of the equal, contiguous parts of a dataset: its number, from 0 on, and how many there are."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a shard from "2/4", the third of four.

        Raises:
            InputError: It is no shard.

        Example:
            >>> Shard.parse("2/4")
            Shard(number=2, of=4)
        """
        found = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text)
        shard = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 0 <= shard.number < shard.of:
            raise InputError(
                f"shard: expected NUMBER/SHARDS, found {text!r}. Numbers begin at 0, as in the files of a dataset on "
                "the Hub: the four shards of four are 0/4, 1/4, 2/4 and 3/4."
            )
        return shard

    @classmethod
    def of_name(cls, name: str) -> Self:
        """Read a shard from the end of a file's stem or of a split's name.

        Raises:
            InputError: The name has none.

        Example:
            >>> Shard.of_name("tagged-00002-of-00004")
            Shard(number=2, of=4)
        """
        found = _NAMED.search(name)
        shard = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 0 <= shard.number < shard.of:
            raise InputError(
                f"merge: expected shards named such as tagged-00002-of-00004.parquet, found {name!r}. "
                "Give the files as --shard named them, and nothing else."
            )
        return shard

    @property
    def split(self) -> str:
        """Its name as a split of a dataset on the Hub, where nobody can take it for the whole."""
        return f"shard_{self.number:05d}_of_{self.of:05d}"

    def path(self, target: str) -> str:
        """Name the file of the shard, where the whole would be `target`.

        Raises:
            InputError: The whole would not be a Parquet file.

        Example:
            >>> Shard(2, 4).path("out/tagged.parquet")
            'out/tagged-00002-of-00004.parquet'
        """
        whole = Path(target)
        if whole.suffix != ".parquet":
            raise InputError(
                f"shard: expected an output ending in .parquet, found {whole.name}. Other formats lose the types of "
                "columns; merge can write them of all shards."
            )
        return str(whole.with_name(f"{whole.stem}-{self.number:05d}-of-{self.of:05d}.parquet"))

    def take(self, dataset: "Dataset") -> "Dataset":
        """Take the rows of the shard, which lie together.

        Raises:
            InputError: There are fewer rows than shards.
        """
        if len(dataset) < self.of:
            raise InputError(f"shard: expected {self.of:,} rows or more, one for each shard, found {len(dataset):,}.")
        return dataset.shard(self.of, self.number, contiguous=True)


def merge_shards(places: Sequence[str]) -> "Dataset":
    """Put the shards of one run together again, in the order of the rows.

    The result is the same as if one machine had tagged all rows.

    Args:
        places: The Parquet files; or one folder that has them; or one dataset on the Hub that has them as splits.

    Raises:
        InputError: Shards are missing, given twice or are not of one run: they differ in how many there are, in their
            columns or their tagger, or their rows are not equal parts of one dataset.
    """
    import datasets

    found = _found(places)
    shards = {shard: dataset for _, shard, dataset in sorted(found, key=lambda each: each[1])}
    _check_complete([(name, shard) for name, shard, _ in found])
    _check_columns(shards)
    _check_taggers(shards)
    _check_sizes(shards)
    return datasets.concatenate_datasets(list(shards.values()))


def _found(places: Sequence[str]) -> list[tuple[str, Shard, "Dataset"]]:
    import datasets

    if not places:
        raise InputError("merge: expected shards, found none. Give their files, their folder or their dataset.")
    paths = [Path(place) for place in places]
    if len(paths) == 1 and not paths[0].exists():
        splits = load_hub(places[0])
        if not isinstance(splits, datasets.DatasetDict):
            raise InputError(f"merge: expected a dataset with shards as splits, found {type(splits).__name__}.")
        return [(name, Shard.of_name(name), dataset) for name, dataset in splits.items()]
    if len(paths) == 1 and paths[0].is_dir():
        paths = sorted(paths[0].glob("*-?????-of-?????.parquet"))
        if not paths:
            raise InputError(f"merge: expected files such as tagged-00002-of-00004.parquet in {places[0]}, found none.")
    _check_complete([(path.name, Shard.of_name(path.stem)) for path in paths])  # before any is read
    return [(path.name, Shard.of_name(path.stem), load(str(path))) for path in paths]


def _check_complete(named: Sequence[tuple[str, Shard]]) -> None:
    """Refuse shards that are not each of one run once."""
    totals = sorted({shard.of for _, shard in named})
    if len(totals) > 1:
        raise InputError(f"merge: expected shards of one run, found some of {_listed(totals)}. Give those of one run.")
    numbers = [shard.number for _, shard in named]
    twice = [name for name, shard in sorted(named) if numbers.count(shard.number) > 1]
    if twice:
        raise InputError(f"merge: expected each shard once, found {_listed(twice)}. Leave one of them out.")
    missing = sorted(set(range(totals[0])) - set(numbers))
    if missing:
        words = _listed(f"{number}/{totals[0]}" for number in missing)
        raise InputError(
            f"merge: expected all {totals[0]:,} shards, found {len(numbers):,}; {words} missing. "
            "Tag what is missing with --shard, and merge again."
        )


def _check_columns(shards: dict[Shard, "Dataset"]) -> None:
    first, *others = shards.items()
    for shard, dataset in others:
        if list(dataset.features.items()) != list(first[1].features.items()):
            names = [
                name
                for name in {**first[1].features, **dataset.features}
                if _type(first[1], name) != _type(dataset, name)
            ]
            raise InputError(
                f"merge: expected the columns of shard {first[0].number} in all, found others in shard {shard.number}: "
                f"{_listed(names or dataset.column_names)}. Tag it again from the same dataset."
            )


def _type(dataset: "Dataset", name: str) -> object:
    return dataset.features.get(name)


def _check_taggers(shards: dict[Shard, "Dataset"]) -> None:
    names = {shard: list(taggers_of(dataset)) for shard, dataset in shards.items()}
    distinct = sorted({name for each in names.values() for name in each})
    if not distinct:
        raise InputError(f'merge: expected tagged rows with the column "{TAGGER}", found none. Tag the shards first.')
    if len(distinct) > 1:
        told = _listed(f"{', '.join(each)} in shard {shard.number}" for shard, each in names.items())
        raise InputError(
            f"merge: expected one tagger in all shards, found {told}. Tag them all with the same settings."
        )


def _check_sizes(shards: dict[Shard, "Dataset"]) -> None:
    """Refuse shards whose rows cannot be equal parts of one dataset, as where one was made with another limit."""
    sizes = [len(dataset) for dataset in shards.values()]
    each, more = divmod(sum(sizes), len(sizes))
    if sizes != [each + (number < more) for number in range(len(sizes))]:
        raise InputError(
            f"merge: expected equal parts of one dataset, found {_listed(sizes)} rows. "
            "Tag all shards from the same dataset, with the same --limit."
        )


def _listed(things: Iterable[object], most: int = 8) -> str:
    words = [str(thing) for thing in things]
    return ", ".join(words[:most]) + (f" and {len(words) - most:,} more" if len(words) > most else "")
