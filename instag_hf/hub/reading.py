"""What was published comes back: its record and its vocabulary, and where the rows of a source are from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from instag_hf.errors import InputError
from instag_hf.hub.committing import Repo, asking
from instag_hf.hub.sources import read_sources

FACTS = "instag.json"


def find_sources(source: str | Sequence[str], *, token: str | None = None) -> list[dict[str, Any]]:
    """Describe the datasets that rows are from, as `sources.read_sources` does; local files need no Hub.

    Raises:
        InputError: A source is neither a file nor a dataset on the Hub.
        HubError: The Hub cannot be asked.
    """
    names = [source] if isinstance(source, str) else list(source)
    found = []
    for name in names:
        with asking(Repo("dataset", name.partition("@")[0]), token) as api:
            found += read_sources(api, name)
    return found


def download(repo_id: str, *, token: str | None = None) -> tuple[Path, str]:
    """Fetch the record and the vocabulary of a dataset that was published, without its rows.

    Args:
        repo_id: `owner/name`, or `owner/name@revision`.
        token: The Hub's token; that of `hf auth login` or `HF_TOKEN` by default.

    Returns:
        The folder that has them, and the commit.

    Raises:
        InputError: The repo was not published with this package.
        RepoError: There is no such repo, or the token may not see it.
        HubError: The Hub cannot be asked.
    """
    name, _, revision = repo_id.partition("@")
    with asking(Repo("dataset", name), token) as api:
        sha = api.repo_info(name, repo_type="dataset", revision=revision or None).sha or ""
        patterns = [FACTS, "normalizer/*"]
        found = Path(api.snapshot_download(name, repo_type="dataset", revision=sha, allow_patterns=patterns))
    if not (found / FACTS).is_file():
        raise InputError(f"hub: expected {repo_id} to hold {FACTS}, found none. Was it published with instag_hf?")
    return found, sha
