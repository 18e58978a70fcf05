"""Where a script leaves rows: a file, or a private dataset on the Hub, since the disk of a job goes with the job."""

from typing import TYPE_CHECKING

from instag_hf.hub.working import check_keeping, keep_rows
from instag_hf.pipeline.files import check_target, is_file_name, save

if TYPE_CHECKING:
    from datasets import Dataset

    from instag_hf.pipeline.shards import Shard


def check_place(place: str, shard: "Shard | None" = None) -> None:
    """Refuse a place that could not be written, before anything is spent on it; what is there may be replaced.

    Args:
        place: A .parquet, .jsonl, .jsonl.gz or .csv file, else the id of a dataset on the Hub.
        shard: The shard that will be put there, of several.

    Raises:
        InputError: It is no such file, or a public dataset.
        HubError: The token is none, or may not write.
    """
    if is_file_name(place):
        check_target(shard.path(place) if shard else place, overwrite=True)
    else:
        check_keeping(place)


def put(dataset: "Dataset", place: str, shard: "Shard | None" = None) -> str:
    """Put rows where `check_place` allowed it, and return where they are.

    A shard gets a file, or a split, of its own.

    Raises:
        InputError: It cannot be written there.
        HubError: The Hub did not take it; what it had is as it was.
    """
    if is_file_name(place):
        return str(save(dataset, shard.path(place) if shard else place))
    return keep_rows(dataset, place, split=shard.split if shard else "train").url
