"""Raw tags in, a vocabulary out: the half of InsTag that was never released (paper section 3.2).

Four steps, each a function of `steps`: rare tags go, spellings are merged, then meanings, then tags that always come
with another. The result is a `TagNormalizer`, which gives rows their canonical tags, tells why, and can be edited.
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from instag_hf.embeddings import MINILM, Embedder, shared_name
from instag_hf.errors import InputError, MissingError
from instag_hf.normalizer import artefact as storage
from instag_hf.normalizer import review as reviewing
from instag_hf.normalizer.artefact import Artefact, Entry, Settings
from instag_hf.normalizer.fitting import fitted
from instag_hf.normalizer.steps import MIN_CONFIDENCE, MIN_COUNT, MIN_SAMPLES, MIN_SUPPORT, STEPS, Apart, FunnelStep
from instag_hf.normalizer.unseen import FATES, Resolver
from instag_hf.rows import NORMALIZED, TAGS
from instag_hf.rows.columns import read_tags
from instag_hf.rows.written import write_whole

if TYPE_CHECKING:
    import datasets

    from instag_hf.rows.columns import Tagged

__all__ = ["STEPS", "Apart", "Entry", "FunnelStep", "Settings", "TagNormalizer"]


class TagNormalizer:
    """A vocabulary, and what each raw tag is in it.

    It does not change: an edit returns another one, so that the cache of `Dataset.map` tells them apart.

    Example:
        >>> rows = [["Sorts", "python"], ["sort", "python"], ["sort", "rust"]] * 10
        >>> normalizer = TagNormalizer.fit(rows, min_count=5, steps=("frequency", "spelling"))
        >>> normalizer.vocabulary
        {'sort': 30, 'python': 20, 'rust': 10}
        >>> normalizer.normalize({"instag_tags": ["SORTS", "haskell"]})
        {'instag_normalized': ['sort']}
    """

    def __init__(self, artefact: Artefact, *, embedder: str | Embedder | None = None) -> None:
        """Wrap what was fitted or read.

        Args:
            artefact: All that it is.
            embedder: What embeds tags, where the model that the settings name does not; it is not saved.
        """
        self._artefact = artefact
        self._embedder = embedder

    @classmethod
    def fit(
        cls,
        tagged: "Tagged",
        *,
        column: str = TAGS,
        mixed: bool = False,
        steps: Sequence[str] = STEPS,
        min_count: int = MIN_COUNT,
        stemmer: str = "porter",
        embedder: str | Embedder = MINILM,
        max_distance: float | None = None,
        min_samples: int = MIN_SAMPLES,
        min_support: int = MIN_SUPPORT,
        min_confidence: float = MIN_CONFIDENCE,
        miner: str = "sparse",
        guards: bool = True,
        unseen: str = "drop",
    ) -> Self:
        """Make a vocabulary of the tags of a dataset; every default is the paper's, the embedder ours.

        The order of the rows makes no difference. Rows that carry an error are skipped and counted.

        Args:
            tagged: A dataset, also a streaming one, or tag lists.
            column: The column of tags.
            mixed: Whether rows may be of several taggers.
            steps: The steps to take, of "frequency", "spelling", "meaning" and "association".
            min_count: Rows that a raw tag needs (the paper's alpha).
            stemmer: "porter" (the paper's), "snowball" or "none".
            embedder: As in `embed`; the paper's is "whaleloops/phrase-bert".
            max_distance: Cosine distance up to which two tags are near, 0 to 2; `None` takes the calibrated one.
            min_samples: DBSCAN's density; with 2 whatever is near is merged.
            min_support: Rows that must have both tags of an association rule.
            min_confidence: Share of the one tag's rows that must have the other, above 0 to 1.
            miner: "sparse", or "mlxtend" for its FP-Growth.
            guards: Whether to keep apart what embeddings confuse: names, numbers, directions, negations, opposites.
            unseen: What `normalize` does with a tag that the fit did not see and that is near none: "drop" or "keep".

        Raises:
            InputError: An option cannot be, the column is missing, there are no tags, or none reaches `min_count`.
            MissingError: What a step needs is not installed.
        """
        settings = Settings(
            column=column, steps=steps,
            min_count=min_count, stemmer=stemmer, max_distance=max_distance, min_samples=min_samples,
            min_support=min_support, min_confidence=min_confidence, miner=miner, guards=guards, unseen=unseen,
        )  # fmt: skip
        made = fitted(tagged, settings, embedder=embedder, mixed=mixed)
        return cls(made, embedder=embedder if callable(embedder) else None)

    @property
    def vocabulary(self) -> dict[str, int]:
        """Rows of the fit data that have each canonical tag, most frequent first, ties alphabetically.

        After an edit the tags that it joined count the rows of both, also those that had both, until `recount`.
        """
        return dict(self._artefact.vocabulary)

    @property
    def funnel(self) -> tuple[FunnelStep, ...]:
        """Tags and assignments (pairs of a row and a tag) at the start and after each step of the fit."""
        return self._artefact.funnel

    @property
    def settings(self) -> Settings:
        """How it was made."""
        return self._artefact.settings

    @property
    def rows(self) -> int:
        """Rows of the fit data, failed ones too."""
        return self._artefact.rows

    @property
    def failed(self) -> Counter[str]:
        """Rows of the fit data that carried an error, by its kind."""
        return Counter(self._artefact.failed)

    @property
    def prevented(self) -> tuple[Apart, ...]:
        """Merges that a guard prevented, with step and reason."""
        return self._artefact.prevented

    @functools.cached_property
    def id(self) -> str:
        """A hash of all that it is, twelve hexadecimal digits."""
        return self._artefact.digest()[:12]

    def __repr__(self) -> str:
        return f"TagNormalizer({self.id}: {len(self._artefact.entries):,} tags -> {len(self._artefact.vocabulary):,})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TagNormalizer) and self._artefact == other._artefact

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes, and into the fingerprint of `datasets`, as the bytes of the files."""
        return _revive, (self._artefact.files(), self._embedder)

    def table(self) -> "datasets.Dataset":
        """Return one row for each raw tag, most frequent first; the columns are those of `Entry`."""
        from datasets import Dataset

        return Dataset(storage.table(self._artefact.entries))

    @functools.cached_property
    def _resolver(self) -> Resolver:
        return Resolver(self._artefact, self._embedder or self.settings.embedder)

    def normalize(self, rows: Mapping[str, Any]) -> dict[str, Any]:
        """Return the canonical tags of a row, or of each row of a batch, as the column `instag_normalized`.

        Made for `Dataset.map`, with `batched=True` or without. A tag that the fit did not see is that of another
        spelling, else the nearest canonical tag within `max_distance`, else dropped or kept; `fates` counts them.

        Args:
            rows: A row or a batch that has the column of tags. A failed row has no tags, and gets none.

        Raises:
            InputError: The column is missing or holds something else than lists of texts; or it was fitted with a
                function that embeds, read without, and a tag needs that.
        """
        column = self.settings.column
        if column not in rows:
            raise InputError(
                f'normalizer: expected a column "{column}" of tag lists, found columns {list(rows)}. '
                "Tag the rows first, or fit with column=."
            )
        value = rows[column]
        single = _is_row(value)
        tags = [self._tags(each) for each in ([value] if single else value)]
        found = self._resolver.look_up(tag for each in tags for tag in each)
        done = [list(dict.fromkeys(to for tag in each if (to := found[tag][0]) is not None)) for each in tags]
        if not isinstance(rows, dict):  # `map` hands over its own kinds, and only arrays type lists that are all empty
            import numpy as np

            done = [np.array(each, dtype=str) for each in done]  # type: ignore[misc]
        return {NORMALIZED: done[0] if single else done}

    def _tags(self, value: Any) -> list[str]:
        tags = [] if value is None else value
        if not _may_be_tags(tags) or not all(isinstance(tag, str) for tag in tags):
            raise InputError(f'normalizer: expected lists of texts in "{self.settings.column}", found {value!r:.100}.')
        return list(tags)

    def fates(self, tagged: "Tagged") -> Counter[str]:
        """Count what becomes of the assignments of a dataset, so that nothing is dropped without a count.

        Returns:
            Assignments that are "known" or "filtered" (dropped by the fit), and of tags that the fit did not see
            those of another "spelling", of near "meaning", "kept" and "dropped".

        Raises:
            InputError: As `normalize`.
        """
        tags = read_tags(tagged, self.settings.column, mixed=True)
        found = self._resolver.look_up(tags.names)
        counted = Counter(dict.fromkeys(FATES, 0))
        for tag, count in zip(tags.names, tags.counts.tolist(), strict=True):
            counted[found[tag][1]] += count
        return counted

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write it to a folder: two JSON and two Parquet files, the same bytes for the same vocabulary.

        Raises:
            InputError: It cannot be written there.
        """
        target = Path(folder)
        try:
            for name, content in self._artefact.files().items():
                write_whole(target / name, content)
        except OSError as error:
            raise InputError(f"normalizer: could not write into {target}: {error}. Choose another folder.") from error
        return target

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, embedder: str | Embedder | None = None
    ) -> Self:
        """Read one that was saved.

        Args:
            name: A folder, or a model repo on the Hub.
            revision: The branch, tag or commit on the Hub.
            embedder: What embeds tags, if it was fitted with a function, or with a folder that is elsewhere.

        Raises:
            InputError: The files are not all there or do not fit together; the message names the place.
            MissingError: There is no such folder, and the Hub has none or cannot be asked.
        """
        folder = Path(name)
        return cls(storage.read(folder if folder.is_dir() else _download(str(name), revision)), embedder=embedder)

    def shared(self) -> Self:
        """Return the same without folders of this machine: a local embedder goes by its folder's last part.

        It still finds that embedder here. Elsewhere `from_pretrained` takes it, for tags that the fit did not see.
        """
        name = self.settings.embedder
        settings = dataclasses.replace(self.settings, embedder=name and shared_name(name))
        return type(self)(dataclasses.replace(self._artefact, settings=settings), embedder=self._embedder or name)

    def with_policy(self, *, unseen: str | None = None, column: str | None = None) -> Self:
        """Return one that treats new data otherwise; `None` leaves as it is.

        Args:
            unseen: "drop" or "keep": what becomes of a tag that the fit did not see and that is near none.
            column: The column of raw tags.

        Raises:
            InputError: There is no such policy.
        """
        now = self.settings
        settings = dataclasses.replace(
            now, unseen=now.unseen if unseen is None else unseen, column=now.column if column is None else column
        )
        return self._edited(dataclasses.replace(self._artefact, settings=settings))

    def merge(self, *tags: str, into: str) -> Self:
        """Return one in which canonical tags are one.

        Args:
            tags: Canonical tags, `into` or others.
            into: The canonical tag that stands for all.

        Raises:
            InputError: One of them is not in the vocabulary.
        """
        return self._edited(reviewing.assign(self._artefact, {tag: into for tag in tags}, known=(*tags, into)))

    def rename(self, tag: str, to: str) -> Self:
        """Return one in which a canonical tag is called otherwise; a name that is taken is refused.

        Raises:
            InputError: The tag is not in the vocabulary, or the name is.
        """
        if to in self._artefact.vocabulary:
            raise InputError(f"normalizer: expected a name that is free, found the tag {to!r}. Use merge to join them.")
        return self._edited(reviewing.assign(self._artefact, {tag: to}, known=(tag,)))

    def drop(self, *tags: str) -> Self:
        """Return one without these canonical tags.

        Raises:
            InputError: One of them is not in the vocabulary, or none would be left.
        """
        return self._edited(reviewing.assign(self._artefact, dict.fromkeys(tags), known=tags))

    def split(self, *raw: str, into: str | None = None) -> Self:
        """Return one in which raw tags no longer belong to their group.

        Args:
            raw: Raw tags of one or several groups.
            into: The canonical tag that stands for them; `None` makes each its own.

        Raises:
            InputError: One of them was not in the fit data.
        """
        return self._edited(reviewing.reassign(self._artefact, {tag: tag if into is None else into for tag in raw}))

    def review(self, path: str | Path, *, sample: int | None = None) -> Path:
        """Write a CSV to read and edit: each raw tag, what it became and why.

        Change the column `canonical` (leave it empty to drop the tag), then give the file to `apply_review`.

        Args:
            path: Where to write.
            sample: Only this many of the tags that change, the most frequent ones; `None` writes all.

        Raises:
            InputError: It cannot be written there, or `sample` is below 0.
        """
        return reviewing.write(self._artefact, Path(path), sample)

    def apply_review(self, path: str | Path) -> Self:
        """Return one with the changes of an edited review.

        Raises:
            InputError: The file cannot be read or is no review, or a line of it cannot be; the message names the line.
        """
        return self._edited(reviewing.apply(self._artefact, Path(path)))

    def recount(self, tagged: "Tagged") -> Self:
        """Return one whose vocabulary counts the rows of a dataset anew; after edits, that of the fit."""
        return self._edited(reviewing.recounted(self._artefact, read_tags(tagged, self.settings.column, mixed=True)))

    def _edited(self, artefact: Artefact) -> Self:
        return type(self)(artefact, embedder=self._embedder)


def _revive(files: Mapping[str, bytes], function: Embedder | None) -> TagNormalizer:
    return TagNormalizer(storage.parse(files), embedder=function)


def _is_row(value: Any) -> bool:
    """Tell a row's tags from a batch of them: texts, where a batch has lists (or nothing, for a failed row)."""
    return not _may_be_tags(value) or all(isinstance(tag, str) for tag in value)


def _may_be_tags(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | Mapping)


def _download(name: str, revision: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        found = huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(storage.FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise MissingError(
            f"normalizer: expected a folder or a repo on the Hub, found nothing at {name!r}. "
            "Check the name, and that the Hub can be reached."
        ) from error
    return Path(found)
