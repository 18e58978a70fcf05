"""What travels between the clients and the local Hub: routes, refusals, and how files are described."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from aiohttp import web

from instag_hf.testing.hub_store import File, Repo

DATE = "2026-01-01T00:00:00.000Z"
TRUE = {"true", "1"}

_REPO = r"api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
_FILE = r"(?:(?P<kind>datasets|spaces)/)?(?P<name>[^/]+/[^/]+)"
ROUTES = {
    route: (methods.split(), re.compile(pattern))
    for route, methods, pattern in (
        ("whoami", "GET", r"api/whoami-v2"),
        ("create", "POST", r"api/repos/create"),
        ("delete", "DELETE", r"api/repos/delete"),
        ("validate", "POST", r"api/validate-yaml"),
        ("info", "GET", _REPO + r"(?:/revision/(?P<revision>[^/]+))?"),
        ("tree", "GET", _REPO + r"/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?"),
        ("paths", "POST", _REPO + r"/paths-info/(?P<revision>[^/]+)"),
        ("refs", "GET", _REPO + r"/refs"),
        ("commits", "GET", _REPO + r"/commits/(?P<revision>[^/]+)"),
        ("settings", "PUT", _REPO + r"/settings"),
        ("access", "GET", _REPO + r"/auth-check"),
        ("branch", "POST DELETE", _REPO + r"/branch/(?P<branch>.+)"),
        ("tag", "POST DELETE", _REPO + r"/tag/(?P<revision>.+)"),
        ("preupload", "POST", _REPO + r"/preupload/(?P<revision>[^/]+)"),
        ("xet", "GET", _REPO + r"/xet-(?:write|read)-token/(?P<revision>[^/]+)"),
        ("commit", "POST", _REPO + r"/commit/(?P<revision>[^/]+)"),
        ("batch", "POST", _FILE + r"\.git/info/lfs/objects/batch"),
        ("put", "PUT", r"lfs/(?P<oid>[0-9a-f]{64})"),
        ("content", "GET HEAD", r"lfs/(?P<oid>[0-9a-f]{64})"),
        ("resolve", "GET HEAD", _FILE + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)"),
    )
}


class Refused(Exception):  # noqa: N818 - reads as what it is in `raise Refused`
    """An answer that is no success, as the Hub words it: status, machine-readable code, and a sentence."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str) -> None:
        """Keep the answer; `code` is what the clients make their kinds of errors of."""
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {}) | headers


def find_route(method: str, path: str) -> tuple[str, dict[str, str | None]]:
    """Find the route; names are unquoted after it is found, since a branch may have a slash in its name."""
    for route, (methods, pattern) in ROUTES.items():
        found = pattern.fullmatch(path)
        if found and method in methods:
            return route, {key: value and unquote(value) for key, value in found.groupdict().items()}
    return "unknown", {}


def said(error: Refused) -> web.Response:
    """Answer with a refusal."""
    headers = {name: value.encode("ascii", "replace").decode() for name, value in error.headers.items()}
    return web.json_response({"error": str(error)}, status=error.status, headers=headers)


def files_at(repo: Repo, revision: str) -> tuple[str, dict[str, File]]:
    """Return the commit that a revision means, and its files."""
    sha = repo.resolve(revision)
    if sha is None:
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return sha, repo.commits[sha].files


def entries(files: Mapping[str, File], folder: str, *, deep: bool) -> Iterator[dict[str, Any]]:
    """List what is in a folder; with `deep` also what is in the folders in it."""
    seen = set()
    for path, file in files.items():
        if not is_under(path, folder):
            continue
        above = [str(each) for each in reversed(PurePosixPath(path).parents[:-1]) if is_under(str(each), folder)]
        for each in above if deep else above[:1]:
            if each not in seen:
                seen.add(each)
                yield {"type": "directory", "path": each, "oid": hashlib.sha1(each.encode()).hexdigest(), "size": 0}
        if deep or not above:
            pointer = {"oid": file.oid, "size": file.size, "pointerSize": len(file.pointer)}
            yield {
                "type": "file", "path": path, "oid": file.git_oid, "size": file.size,
                **({"lfs": pointer} if file.lfs else {}),
            }  # fmt: skip


def is_under(path: str, folder: str) -> bool:
    """Whether a path is in a folder."""
    return not folder or path.startswith(f"{folder.rstrip('/')}/")


def blob(file: File) -> dict[str, Any]:
    """Describe the content of a file."""
    pointer = {"sha256": file.oid, "size": file.size, "pointerSize": len(file.pointer)}
    return {"size": file.size, "blobId": file.git_oid, **({"lfs": pointer} if file.lfs else {})}


def host(request: web.Request) -> str:
    """Name this server as the client did."""
    return f"http://{request.host}"


def elsewhere(request: web.Request) -> str:
    """Name another host, as the Hub does for large files: clients follow there without their token."""
    return f"http://localhost:{request.host.rpartition(':')[2]}"


def prefix(kind: str) -> str:
    """Return what stands before the name of a repository in its page's path."""
    return "" if kind == "models" else f"{quote(kind)}/"


def as_json(value: Any) -> str:
    """Write JSON, also of the dates that YAML makes of texts."""
    return json.dumps(value, default=str)
