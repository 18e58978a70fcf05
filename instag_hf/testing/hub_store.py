"""Repositories as the Hub keeps them: content by its hash, commits that never change, branches and tags that name them.

All of it lies in a folder and is written at once, so that a server that was killed finds what it had promised.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

# What a new repository of the Hub sends through LFS by its name; anything else is by its size.
LFS_ENDINGS = (
    *(".7z", ".arrow", ".bin", ".bz2", ".ckpt", ".ftz", ".gz", ".h5", ".joblib", ".mlmodel", ".model", ".msgpack"),
    *(".npy", ".npz", ".onnx", ".ot", ".parquet", ".pb", ".pickle", ".pkl", ".pt", ".pth", ".rar", ".safetensors"),
    *(".tar", ".tflite", ".tgz", ".wasm", ".xz", ".zip", ".zst"),
)
LFS_IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tiff", ".webp")  # in datasets
LFS_BYTES = 10 * 1024 * 1024


class File(NamedTuple):
    """A file of a commit: the hash that finds its content (git's SHA-1, or SHA-256 of LFS), and its size in bytes."""

    oid: str
    size: int
    lfs: bool

    @property
    def pointer(self) -> bytes:
        """What git has in place of a file of LFS."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.oid}\nsize {self.size}\n".encode()

    @property
    def git_oid(self) -> str:
        """The hash that git knows it by."""
        return git_sha1(self.pointer) if self.lfs else self.oid


@dataclasses.dataclass(frozen=True)
class Commit:
    """One state of a repository, whole."""

    parent: str | None
    title: str
    number: int
    files: dict[str, File]

    @property
    def sha(self) -> str:
        """Its name, which follows from all that it is."""
        return hashlib.sha1(json.dumps(dataclasses.astuple(self), sort_keys=True).encode()).hexdigest()


@dataclasses.dataclass
class Repo:
    """A repository: its commits by name, and what branches and tags point to."""

    kind: str
    id: str
    private: bool
    commits: dict[str, Commit] = dataclasses.field(default_factory=dict)
    branches: dict[str, str] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)

    def resolve(self, revision: str) -> str | None:
        """Find the commit that a branch, a tag or a name of a commit means."""
        for found in (self.branches.get(revision), self.tags.get(revision)):
            if found:
                return found
        return revision if revision in self.commits else None

    def commit(self, branch: str, title: str, files: Mapping[str, File]) -> str:
        """Add a commit on top of a branch."""
        made = Commit(self.branches.get(branch), title, len(self.commits), dict(sorted(files.items())))
        self.commits[made.sha] = made
        self.branches[branch] = made.sha
        return made.sha

    def history(self, sha: str | None) -> Iterator[tuple[str, Commit]]:
        """Walk from a commit to the first one."""
        while sha is not None:
            yield sha, self.commits[sha]
            sha = self.commits[sha].parent


class Shelf:
    """All repositories of a Hub, in a folder."""

    def __init__(self, folder: Path) -> None:
        """Read what the folder has."""
        self._blobs, self._repos = folder / "blobs", folder / "repos"
        for made in (self._blobs, self._repos):
            made.mkdir(parents=True, exist_ok=True)
        found = [_read(path) for path in self._repos.glob("*.json")]
        self.repos = {(repo.kind, repo.id): repo for repo in found}

    def create(self, kind: str, repo_id: str, *, private: bool) -> Repo:
        """Make a repository with the one commit that the Hub itself makes."""
        repo = self.repos[kind, repo_id] = Repo(kind, repo_id, private)
        endings = LFS_ENDINGS + (LFS_IMAGES if kind == "datasets" else ())
        attributes = "".join(f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in endings)
        repo.commit("main", "initial commit", {".gitattributes": self.add(attributes.encode())})
        self.save(repo)
        return repo

    def save(self, repo: Repo) -> None:
        """Write a repository, whole or not at all."""
        target = self._place(repo.kind, repo.id)
        target.with_suffix(".part").write_text(json.dumps(dataclasses.asdict(repo)), encoding="utf-8")
        os.replace(target.with_suffix(".part"), target)

    def delete(self, repo: Repo) -> None:
        """Forget a repository."""
        del self.repos[repo.kind, repo.id]
        self._place(repo.kind, repo.id).unlink()

    def add(self, data: bytes, *, lfs: bool = False) -> File:
        """Keep content, and name it as git or as LFS does."""
        file = File(hashlib.sha256(data).hexdigest() if lfs else git_sha1(data), len(data), lfs)
        if not self.has(file.oid):
            part = self._blobs / f"{file.oid}.part"
            part.write_bytes(data)
            os.replace(part, self.path(file.oid))
        return file

    def has(self, oid: str) -> bool:
        """Whether content is there."""
        return self.path(oid).is_file()

    def path(self, oid: str) -> Path:
        """Where content lies."""
        return self._blobs / oid

    def _place(self, kind: str, repo_id: str) -> Path:
        return self._repos / f"{kind}--{repo_id.replace('/', '--')}.json"


def is_lfs(kind: str, path: str, size: int) -> bool:
    """Whether the Hub wants a file through LFS."""
    endings = LFS_ENDINGS + (LFS_IMAGES if kind == "datasets" else ())
    return size >= LFS_BYTES or path.lower().endswith(endings)


def git_sha1(data: bytes) -> str:
    """Hash content as git does."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _read(path: Path) -> Repo:
    facts = json.loads(path.read_text(encoding="utf-8"))
    commits = {
        sha: Commit(**{**commit, "files": {name: File(*file) for name, file in commit["files"].items()}})
        for sha, commit in facts.pop("commits").items()
    }
    return Repo(**facts, commits=commits)
