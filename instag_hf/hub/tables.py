"""Rows in, the Parquet files of a dataset repo out, with what the Hub's viewer and `load_dataset` must know of them."""

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instag_hf.errors import InputError
from instag_hf.normalizer import TagNormalizer
from instag_hf.rows import ERROR, NORMALIZED, TAGGER, TAGS
from instag_hf.rows.columns import BATCH, TagColumn, count_taggers, read_tags

if TYPE_CHECKING:
    from datasets import Dataset, Features

SHARD_BYTES = 500_000_000
VOCABULARY = "tag_vocabulary"


def tag_column(ds: "Dataset") -> str:
    """Name the column that is counted: the canonical tags, where there are any.

    Raises:
        InputError: There is no column of tags.
    """
    for name in (NORMALIZED, TAGS):
        if name in ds.column_names:
            return name
    raise InputError(
        f'hub: expected a column "{TAGS}", found columns {ds.column_names}. Tag the rows first, or use adopt_tags.'
    )


def without_failed(ds: "Dataset") -> "Dataset":
    """Leave out the rows that carry an error; `failures` counts them."""
    errors = _errors(ds)
    return ds.select([row for row, error in enumerate(errors) if not error]) if any(errors) else ds


def failures(ds: "Dataset") -> dict[str, int]:
    """Count the rows that carry an error, by its kind."""
    return dict(sorted(Counter(error.partition(":")[0] for error in _errors(ds) if error).items()))


def _errors(ds: "Dataset") -> list[str]:
    return list(ds.with_format(None)[ERROR][:]) if ERROR in ds.column_names else []


def taggers_of(ds: "Dataset") -> dict[str, int]:
    """Count rows by who tagged them, most rows first."""
    if TAGGER not in ds.column_names:
        return {}
    counted: Counter[str] = Counter()
    for batch in ds.select_columns(TAGGER).with_format(None).iter(BATCH):
        counted += count_taggers(batch[TAGGER])
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def vocabulary(ds: "Dataset", normalizer: TagNormalizer | None) -> "Dataset":
    """Make the rows of the config `tag_vocabulary`: `tag`, `count`, `canonical`, `step`.

    Counts are of the rows that the normalizer was fitted on; without one of the rows of `ds`, and the tag is its own.
    """
    import datasets

    features = datasets.Features(
        {
            name: datasets.Value("int64" if name == "count" else "string")
            for name in ("tag", "count", "canonical", "step")
        }
    )
    if normalizer is not None:
        table = normalizer.table().with_format(None)
        columns = {ours: table[theirs][:] for ours, theirs in {**dict.fromkeys(features), **_THEIRS}.items()}
        return datasets.Dataset.from_dict(columns, features=features)
    tags: TagColumn = read_tags(ds, tag_column(ds), mixed=True)
    counted = sorted(zip(tags.names, tags.counts.tolist(), strict=True), key=lambda item: (-item[1], item[0]))
    columns = {"tag": [tag for tag, _ in counted], "count": [count for _, count in counted]}
    return datasets.Dataset.from_dict(
        {**columns, "canonical": columns["tag"], "step": [""] * len(counted)}, features=features
    )


_THEIRS = {"tag": "tag", "count": "rows", "canonical": "canonical", "step": "step"}


def write_shards(
    ds: "Dataset", folder: Path, config: str, split: str, shard_bytes: int = SHARD_BYTES
) -> dict[str, Path]:
    """Write rows as Parquet under the names that `load_dataset` expects; the same rows give the same bytes.

    Returns:
        Path in the repo to file.

    Raises:
        InputError: A row names a file that is not of a dataset on the Hub.
    """
    check_files(ds)
    inside = "data" if config == "default" else config
    (folder / inside).mkdir(parents=True, exist_ok=True)
    bytes_a_row = ds.data.nbytes / max(1, ds.data.num_rows)  # the table may hold more rows than were selected
    shards = max(1, min(len(ds), math.ceil(bytes_a_row * len(ds) / shard_bytes)))
    written = {}
    for number in range(shards):
        name = f"{inside}/{split}-{number:05d}-of-{shards:05d}.parquet"
        _with_files(ds.shard(shards, number, contiguous=True)).to_parquet(folder / name)
        written[name] = folder / name
    return written


def to_parquet(ds: "Dataset", path: Path) -> None:
    """Write rows as Parquet; files that they name stay where they are, though `datasets` would ask for their sizes."""
    ds.to_parquet(path, batch_size=1_000 if _with_paths(ds) else None)


def check_files(ds: "Dataset") -> None:
    """Refuse rows that name files of this machine, since whoever wrote the rows may have named any of them.

    Files that `datasets` took from the Hub are of the dataset itself, and pass; so do bytes, whatever they are named.

    Raises:
        InputError: A row names a file that is not of a dataset on the Hub.
    """
    from datasets import config
    from huggingface_hub import constants

    taken = [os.path.realpath(place) for place in (config.DOWNLOADED_DATASETS_PATH, constants.HF_HUB_CACHE)]
    columns = _with_paths(ds)
    batches = ds.select_columns(columns).with_format("arrow").iter(100) if columns else ()
    cells = ((name, cell) for batch in batches for row in batch.to_pylist() for name, cell in row.items())
    for place, (name, cell) in enumerate(cells):
        for path in _named(cell):
            whole = os.path.realpath(path)
            if not any(whole.startswith(folder + os.sep) for folder in taken):
                raise InputError(
                    f'hub: row {place // len(columns)}: expected the bytes of a file in "{name}", found its path '
                    f"alone, {path}. No file is read because a row names it. If these files are to go along, put "
                    "them into the rows with ds.save_to_disk and load_from_disk; else remove the column."
                )


def _with_paths(ds: "Dataset") -> list[str]:
    """Name the columns of images, sounds and the like, whose cells may hold paths in place of bytes."""
    from datasets.features.features import require_storage_embed

    return [name for name, feature in ds.features.items() if require_storage_embed(feature)]


def _named(cell: Any) -> Iterator[str]:
    """Find the paths in a cell that stand for bytes."""
    if isinstance(cell, list):
        yield from (path for each in cell for path in _named(each))
    elif isinstance(cell, dict) and {"bytes", "path"} == set(cell):
        yield from [cell["path"]] if cell["bytes"] is None and cell["path"] is not None else []
    elif isinstance(cell, dict):
        yield from (path for each in cell.values() for path in _named(each))


def _with_files(ds: "Dataset") -> "Dataset":
    """Put the bytes of images and sounds into the rows, where there are only paths of what is from the Hub."""
    from datasets.table import embed_table_storage

    if not _with_paths(ds):
        return ds
    return ds.with_format("arrow").map(embed_table_storage, batched=True, batch_size=100, keep_in_memory=True)


def describe(
    data: Any,
    config: str,
    split: str,
    features: "Features",
    files: Mapping[str, Path],
    other_bytes: int = 0,
    *,
    pattern: str = "",
) -> None:
    """Write into a card's keys which files are a config, and of what type, beside what it says of others.

    Args:
        data: The card's keys, as the Hub's library holds them.
        config: The config's name.
        split: The split that the files are.
        features: The columns' types.
        files: The files.
        other_bytes: Size of the config's other files, of other splits.
        pattern: Where the files lie; as `write_shards` names them by default.

    Raises:
        InputError: What the card says of other splits or configs would no longer load.
    """
    import pyarrow.parquet as pq
    from datasets import SplitInfo
    from datasets.info import DatasetInfo, DatasetInfosDict
    from datasets.splits import SplitDict
    from datasets.utils.metadata import MetadataConfigs

    configs = MetadataConfigs.from_dataset_card_data(data)
    infos = DatasetInfosDict.from_dataset_card_data(data)
    patterns = _patterns(configs.get(config, {}).get("data_files"))
    known = infos.get(config)
    others = [name for name in patterns if name != split]
    if others and known is not None and known.features != features:
        raise InputError(
            f"hub: expected the columns of the splits {others} that are on the Hub, found other columns, so that the "
            "repo would no longer load. Publish to another repo, or give every split the same columns."
        )
    flagged = [name for name, facts in configs.items() if facts.get("default") and name != config]
    if flagged and config == "default":
        raise InputError(f"hub: the repo's default config is {flagged[0]!r} already. Publish to another repo.")
    inside = "data" if config == "default" else config
    patterns[split] = [pattern or f"{inside}/{split}-*"]
    listed = [{"split": name, "path": paths[0] if len(paths) == 1 else paths} for name, paths in patterns.items()]
    MetadataConfigs({config: {**configs.get(config, {}), "data_files": listed}}).to_dataset_card_data(data)
    read = [pq.read_metadata(path) for path in files.values()]
    held = sum(each.row_group(group).total_byte_size for each in read for group in range(each.num_row_groups))
    splits = SplitDict()
    for info in (known.splits or {}).values() if known is not None and others else ():
        if info.name in others:
            splits.add(info)
    splits.add(SplitInfo(name=split, num_bytes=held, num_examples=sum(each.num_rows for each in read)))
    downloads = sum(path.stat().st_size for path in files.values()) + other_bytes
    size = sum(info.num_bytes or 0 for info in splits.values())
    made = DatasetInfo(features=features, splits=splits, download_size=downloads, dataset_size=size)
    DatasetInfosDict({config: made}).to_dataset_card_data(data)


def _patterns(data_files: Any) -> dict[str, list[str]]:
    """Read the YAML of `data_files`, which may be a path, paths, or paths for each split."""
    if data_files is None:
        return {}
    if isinstance(data_files, str) or all(isinstance(each, str) for each in data_files):
        return {"train": [data_files] if isinstance(data_files, str) else list(data_files)}
    return {
        each["split"]: [each["path"]] if isinstance(each["path"], str) else list(each["path"]) for each in data_files
    }
