"""The one way to the Hub: look at what is there, write what differs in one commit, or say why not.

A commit of the Hub is whole or not at all. So whatever breaks on the way leaves the old revision as it was, and the
next try goes on with what was uploaded already.
"""

import contextlib
import dataclasses
import hashlib
import random
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from instag_hf import __version__
from instag_hf.errors import AccessError, HubError, InputError, InstagError, RepoError

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

CARD = "README.md"
TRIES = 6  # of a commit, while others commit to the same repo

Content = bytes | Path


class Repo(NamedTuple):
    """Where to publish: "dataset" or "model", and the id."""

    kind: str
    id: str

    @property
    def url(self) -> str:
        """Its page."""
        import huggingface_hub

        folder = "datasets/" if self.kind == "dataset" else ""
        return f"{huggingface_hub.constants.ENDPOINT}/{folder}{self.id}"


class Held(NamedTuple):
    """A file on the Hub: its size in bytes, and the hash of its content, git's or that of LFS."""

    size: int
    oid: str
    lfs: bool


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A repo as it is now.

    Attributes:
        repo: Which.
        sha: Its newest commit; `None` if there is no repo yet.
        files: What the commit has.
        api: The Hub's client.
    """

    repo: Repo
    sha: str | None
    files: Mapping[str, Held]
    api: "HfApi"

    def read(self, path: str) -> str:
        """Return a text of it, nothing if it is not there."""
        if path not in self.files:
            return ""
        found = self.api.hf_hub_download(self.repo.id, path, repo_type=self.repo.kind, revision=self.sha)
        return Path(found).read_text(encoding="utf-8", errors="replace")


class Wanted(NamedTuple):
    """What a repo shall hold: files, and which others are to go, those of an earlier publication."""

    files: Mapping[str, Content]
    is_stale: Callable[[str], bool] = lambda path: False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """What was published, or would be.

    Attributes:
        url: The repo's page.
        commit: The commit that has it; `None` if nothing was written, as in a dry run.
        files: All files that are ours, with their sizes in bytes.
        written: Those that differed from what was there.
        removed: Files of an earlier publication that are gone.
        card: The card.
    """

    url: str
    commit: str | None
    files: dict[str, int]
    written: tuple[str, ...]
    removed: tuple[str, ...]
    card: str

    def __str__(self) -> str:
        lines = [
            f"{size:>14,}  {'write' if path in self.written else 'same '}  {path}" for path, size in self.files.items()
        ]
        lines += [f"{'':>14}  remove {path}" for path in self.removed]
        return "\n".join([self.card.rstrip("\n"), "", f"files of {self.url}:", *lines])


def publish(
    repo: Repo,
    write: Callable[[Snapshot], Wanted],
    *,
    private: bool = False,
    token: str | None = None,
    dry_run: bool = False,
) -> Published:
    """Bring a repo to hold some files, in one commit, and none if it holds them.

    Args:
        repo: Where.
        write: Told what is there, returns what shall be, the card among it; asked again when somebody else committed
            meanwhile, so that nothing of theirs is lost.
        private: Whether a new repo is private; a public one that is there already is then refused.
        token: The Hub's token; that of `hf auth login` or `HF_TOKEN` by default.
        dry_run: Whether to look only.

    Raises:
        AccessError: The token is none, wrong, or may not write there.
        RepoError: The repo cannot be seen.
        HubError: The Hub cannot be asked, or does not take the commit.
        InputError: The card or the repo's name is not what the Hub takes.
    """
    with asking(repo, token) as api:
        if not dry_run or "/" not in repo.id:  # a name alone is that of the token's owner
            repo = _as_writer(api, repo)
        uploads: dict[str, CommitOperationAdd] = {}
        for attempt in range(TRIES):
            found = look(api, repo)
            _check_private(api, found, private)
            plan = _plan(found, write(found), uploads)
            if dry_run or (found.sha and not plan.written and not plan.removed):
                return dataclasses.replace(plan, commit=None if dry_run else found.sha)
            if found.sha is None:
                api.create_repo(repo.id, repo_type=repo.kind, private=private, exist_ok=True)
                found = look(api, repo)
            commit = _commit(api, found, plan, uploads)
            if commit is not None:
                return dataclasses.replace(plan, commit=commit)
            time.sleep(0.25 * 2**attempt * (1 + random.random()))  # noqa: S311 - not for secrets
    raise HubError(
        f"hub: expected to commit to {repo.id}, found {TRIES} times that somebody else had committed. Try again later."
    )


def check(repo: Repo, ask: Callable[[Snapshot], None], *, private: bool = False, token: str | None = None) -> None:
    """Refuse what `publish` would refuse before it writes; `ask` is told what is there, and may refuse it too.

    Raises:
        AccessError: The token is none, wrong, or may not write there.
        HubError: The Hub cannot be asked.
        InputError: The repo's name is not what the Hub takes, or it is public and should be private.
    """
    with asking(repo, token) as api:
        found = look(api, _as_writer(api, repo))
        _check_private(api, found, private)
        ask(found)


@contextlib.contextmanager
def asking(repo: Repo, token: str | None = None) -> Iterator["HfApi"]:
    """Give the Hub's client, and turn what it raises into our errors."""
    import huggingface_hub

    given = _sendable(token or huggingface_hub.get_token())
    with _told(repo, given):
        yield huggingface_hub.HfApi(token=given, library_name="instag_hf", library_version=__version__)


def network_errors() -> tuple[type[BaseException], ...]:
    """Name what the Hub's client raises when the Hub refuses or cannot be reached, whichever HTTP library it uses."""
    from huggingface_hub.errors import HfHubHTTPError

    return (*HfHubHTTPError.__bases__, OSError)  # the first base is the root of the library's errors


def look(api: "HfApi", repo: Repo) -> Snapshot:
    """Look at what a repo holds."""
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    try:
        sha = api.repo_info(repo.id, repo_type=repo.kind).sha
    except RepositoryNotFoundError:
        return Snapshot(repo, None, {}, api)
    tree = api.list_repo_tree(repo.id, repo_type=repo.kind, revision=sha, recursive=True)
    held = {
        file.path: Held(file.size, file.lfs.sha256 if file.lfs else file.blob_id, bool(file.lfs))
        for file in tree
        if isinstance(file, RepoFile)
    }
    return Snapshot(repo, sha, held, api)


def _sendable(token: str | None) -> str | None:
    """Refuse what no header can hold: the HTTP library would quote it in its errors."""
    if token and not re.fullmatch(r"[!-~]+", token):
        raise AccessError(
            "hub: expected a token of plain letters and digits, found one with other characters. "
            "Copy it again, into HF_TOKEN or hf auth login."
        )
    return token


def _as_writer(api: "HfApi", repo: Repo) -> Repo:
    """Learn who publishes before anything is written: a name without an owner is theirs."""
    me = api.whoami()
    if me.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise AccessError(
            f"hub: expected a token that may write to {repo.id}, found one that may only read. "
            "Make one with the role write, and log in with it: hf auth login."
        )
    return repo if "/" in repo.id else repo._replace(id=f"{me['name']}/{repo.id}")


def _check_private(api: "HfApi", found: Snapshot, private: bool) -> None:
    if private and found.sha and not api.repo_info(found.repo.id, repo_type=found.repo.kind).private:
        raise InputError(
            f"hub: expected {found.repo.id} to be private, found it public. Nothing was written. "
            "Make it private on its page, or choose another name."
        )


def _plan(found: Snapshot, wanted: Wanted, uploads: dict[str, "CommitOperationAdd"]) -> Published:
    from huggingface_hub import CommitOperationAdd

    files = wanted.files
    written = [path for path, content in files.items() if _differs(found.files.get(path), content)]
    for path in written:
        content = files[path]
        if isinstance(content, bytes) or path not in uploads:  # a file that was uploaded already is not sent again
            uploads[path] = CommitOperationAdd(path, content)
    gone = [path for path in found.files if path not in files and wanted.is_stale(path)]
    card = files[CARD]
    return Published(
        url=found.repo.url,
        commit=None,
        files={path: _size(content) for path, content in files.items()},
        written=tuple(written),
        removed=tuple(gone),
        card=card.decode() if isinstance(card, bytes) else card.read_text(encoding="utf-8"),
    )


def _commit(api: "HfApi", found: Snapshot, plan: Published, uploads: Mapping[str, "CommitOperationAdd"]) -> str | None:
    """Commit on top of what was looked at; `None` if somebody else was faster."""
    from huggingface_hub import CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError

    operations: list[Any] = [
        *(uploads[path] for path in plan.written),
        *(CommitOperationDelete(path) for path in plan.removed),
    ]
    try:
        with warnings.catch_warnings():  # a vocabulary's tables are right in the repo of a model
            warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")
            done = api.create_commit(
                found.repo.id,
                operations,
                commit_message="Publish with instag_hf",
                repo_type=found.repo.kind,
                parent_commit=found.sha,
            )
    except HfHubHTTPError as error:
        if _status(error) in {409, 412}:  # another commit is under way, or was made since
            return None
        raise
    return str(done.oid)


def _differs(held: Held | None, content: Content) -> bool:
    if held is None or held.size != _size(content):
        return True
    if held.lfs:
        if isinstance(content, bytes):
            return hashlib.sha256(content).hexdigest() != held.oid
        with content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() != held.oid
    data = content if isinstance(content, bytes) else content.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() != held.oid


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


@contextlib.contextmanager
def _told(repo: Repo, token: str | None) -> Iterator[None]:
    """Turn what the Hub's client raises into our errors, in which no token stands."""
    from huggingface_hub.errors import HFValidationError

    trouble = network_errors()
    try:
        yield
    except InstagError:
        raise
    except HFValidationError as error:
        raise InputError(
            f"hub: expected the id of a repo, owner/name, found {repo.id!r}: {_line(error, token)}"
        ) from None
    except trouble as error:
        raise _translated(error, repo, token) from error
    except RuntimeError as error:  # the client's own words for whatever broke an upload
        cause = error.__cause__ if isinstance(error.__cause__, trouble) else error
        raise _translated(cause, repo, token) from error
    except ValueError as error:
        raise InputError(f"hub: the Hub does not take what should be {repo.id}: {_line(error, token)}") from None


def _translated(error: BaseException, repo: Repo, token: str | None) -> HubError:
    from huggingface_hub.errors import LocalTokenNotFoundError, RepositoryNotFoundError

    status = _status(error)
    if isinstance(error, RepositoryNotFoundError):
        return RepoError(
            f"hub: expected a {repo.kind} repo {repo.id} that the token may see, found none. "
            "Check the name; if it is private, log in as somebody who may see it: hf auth login."
        )
    if isinstance(error, LocalTokenNotFoundError) or (status == 401 and not token):
        return AccessError("hub: expected a token, found none. Log in with hf auth login, or set HF_TOKEN.")
    if status == 401:
        return AccessError(
            "hub: expected a token that the Hub knows, found one that it does not. "
            "Log in again with hf auth login, or set HF_TOKEN."
        )
    if status == 403:
        return AccessError(
            f"hub: expected a token that may write to {repo.id}, found one that may not: {_line(error, token)}. "
            "Ask the owner, or make a token with the role write."
        )
    return HubError(
        f"hub: the Hub did not finish for {repo.id}: {_line(error, token)}. "
        "What it had is as it was; run the same again, and only what is missing is uploaded."
    )


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _line(error: BaseException, token: str | None) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    if token:
        said = said.replace(token, "***")
    return said[:300].rstrip(".")  # a sentence of ours goes on
