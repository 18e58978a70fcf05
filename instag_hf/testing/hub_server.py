"""The local Hub's own side, which runs in a process of its own; use `LocalHub`.

The routes are those that the clients of the Hub ask; what they need to see in answers was found by watching them.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from instag_hf.testing.hub_cards import data_of, problems
from instag_hf.testing.hub_store import File, Repo, Shelf, is_lfs
from instag_hf.testing.hub_wire import (
    DATE,
    TRUE,
    Refused,
    as_json,
    blob,
    elsewhere,
    entries,
    files_at,
    find_route,
    host,
    is_under,
    prefix,
    said,
)

PAGE = 1000  # entries of a tree that are sent at once


class User(NamedTuple):
    """Whose token it is, and whether it may write."""

    name: str
    writes: bool


class Server:
    """Answers for the repositories of a folder, and remembers what it was asked."""

    def __init__(self, folder: Path, users: Mapping[str, User]) -> None:
        """Take up what the folder has; `users` are by their tokens."""
        self.shelf = Shelf(folder)
        self.users = users
        self.seen: list[dict[str, Any]] = []
        self.faults: list[dict[str, Any]] = []

    def app(self) -> web.Application:
        """Make the application."""
        app = web.Application(client_max_size=1 << 40)
        app.router.add_post("/control/{what}", self.control)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, or misbehave as told."""
        path = request.raw_path.partition("?")[0].strip("/")
        route, groups = find_route(request.method, path)
        fault = self._fault(route)
        if fault and fault["when"] == "before":
            answer = self._misbehave(fault)
        else:
            try:
                answer = await getattr(self, f"do_{route}")(request, **groups)
            except Refused as error:
                answer = said(error)
            if fault:
                answer = self._misbehave(fault)
        self.seen.append({"method": request.method, "path": path, "route": route, "status": answer.status})
        return answer

    def _fault(self, route: str) -> dict[str, Any] | None:
        for fault in self.faults:
            if fault["route"] == route and fault["times"]:
                if fault["skip"]:
                    fault["skip"] -= 1
                    return None
                fault["times"] -= 1
                return fault
        return None

    def _misbehave(self, fault: Mapping[str, Any]) -> web.Response:
        if not fault["status"]:
            os._exit(1)
        return said(Refused(fault["status"], "as told to by a test"))

    async def control(self, request: web.Request) -> web.Response:
        """Do what a test asks: take a fault, tell what was seen, forget both, or take a repository."""
        body, what = await request.json(), request.match_info["what"]
        if what == "fault":
            self.faults.append(body)
        elif what == "forget":
            self.seen.clear()
            self.faults.clear()
        elif what == "add":
            repo = self.shelf.repos.get((body["kind"], body["repo_id"]))
            repo = repo or self.shelf.create(body["kind"], body["repo_id"], private=body["private"])
            new = {path: base64.b64decode(data) for path, data in body["files"].items()}
            held = {path: self.shelf.add(data, lfs=is_lfs(repo.kind, path, len(data))) for path, data in new.items()}
            sha = repo.commit("main", "added by a test", repo.commits[repo.branches["main"]].files | held)
            self.shelf.save(repo)
            return web.json_response(sha)
        return web.json_response(self.seen)

    # Who asks, and what they may

    def user(self, request: web.Request) -> User | None:
        """Find whose token a request carries; a wrong token is refused, none is nobody."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if given and given not in self.users:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.users.get(given)

    def readable(self, request: web.Request, kind: str | None, name: str) -> Repo:
        """Find a repository that the asker may see; a private one does not exist for others."""
        user, repo = self.user(request), self.shelf.repos.get((kind or "models", name))
        if repo is None or (repo.private and not (user and owns(user, name))):
            raise Refused(404, "Repository not found", "RepoNotFound")
        return repo

    def writable(self, request: web.Request, kind: str | None, name: str) -> Repo:
        """Find a repository that the asker may write to."""
        repo = self.readable(request, kind, name)
        self.writer(request, name)
        return repo

    def writer(self, request: web.Request, name: str) -> User:
        """Find who asks, and refuse who may not write there."""
        user = self.user(request)
        if user is None:
            raise Refused(401, "Invalid username or password.")
        if not user.writes:
            raise Refused(403, "you must use a write token to upload to a repository.")
        if not owns(user, name):
            raise Refused(403, "Forbidden: you don't have the rights to write to this namespace.")
        return user

    # Repositories

    async def do_unknown(self, request: web.Request) -> web.Response:
        """Say that there is nothing."""
        raise Refused(404, "Sorry, we can't find the page you are looking for.")

    async def do_whoami(self, request: web.Request) -> web.Response:
        """Tell whose token it is."""
        user = self.user(request)
        if user is None:
            raise Refused(401, "Invalid username or password.")
        token = {"displayName": "local", "role": "write" if user.writes else "read"}
        auth = {"type": "access_token", "accessToken": token}
        return web.json_response(
            {"type": "user", "name": user.name, "fullname": user.name, "orgs": [], "isPro": False, "auth": auth}
        )

    async def do_create(self, request: web.Request) -> web.Response:
        """Make a repository."""
        kind, name, body = await self._named(request)
        self.writer(request, name)
        url = f"{host(request)}/{prefix(kind)}{name}"
        if (kind, name) in self.shelf.repos:
            return web.json_response({"error": "You already created this repo", "url": url}, status=409)
        private = body.get("private") or body.get("visibility") == "private"
        self.shelf.create(kind, name, private=bool(private))
        return web.json_response({"url": url, "name": name, "id": name})

    async def do_delete(self, request: web.Request) -> web.Response:
        """Forget a repository."""
        kind, name, _ = await self._named(request)
        self.shelf.delete(self.writable(request, kind, name))
        return web.json_response({})

    async def _named(self, request: web.Request) -> tuple[str, str, dict[str, Any]]:
        body = await request.json()
        user = self.user(request)
        owner = body.get("organization") or (user.name if user else "")
        return f"{body.get('type') or 'model'}s", f"{owner}/{body['name']}", body

    async def do_validate(self, request: web.Request) -> web.Response:
        """Say what is wrong with a card's YAML."""
        found = [{"message": problem} for problem in problems((await request.json())["content"])]
        return web.json_response({"errors": found, "warnings": []}, status=400 if found else 200)

    async def do_info(self, request: web.Request, kind: str, name: str, revision: str | None) -> web.Response:
        """Describe a repository at a revision."""
        repo = self.readable(request, kind, name)
        sha, files = files_at(repo, revision or "main")
        card = data_of(self.shelf.path(files["README.md"].oid).read_text("utf-8")) if "README.md" in files else {}
        siblings = [
            {"rfilename": path, **(blob(file) if "blobs" in request.query else {})} for path, file in files.items()
        ]
        facts = {"id": name, "author": name.partition("/")[0], "sha": sha, "private": repo.private, "gated": False}
        more = {"disabled": False, "downloads": 0, "likes": 0, "lastModified": DATE, "createdAt": DATE}
        tags = [tag for tag in card.get("tags") or [] if isinstance(tag, str)]
        return web.json_response({**facts, **more, "tags": tags, "cardData": card, "siblings": siblings}, dumps=as_json)

    async def do_tree(
        self, request: web.Request, kind: str, name: str, revision: str, path: str | None
    ) -> web.Response:
        """List a folder, a page at a time."""
        sha, files = files_at(self.readable(request, kind, name), revision)
        found = list(entries(files, (path or "").strip("/"), deep=request.query.get("recursive", "").lower() in TRUE))
        if not found and path:
            raise Refused(404, f"{path} does not exist on {revision}", "EntryNotFound")
        start = int(request.query.get("cursor", 0))
        page, headers = found[start : start + PAGE], {}
        if start + PAGE < len(found):
            following = request.url.update_query(cursor=str(start + PAGE))
            headers["Link"] = f'<{following}>; rel="next"'
        if request.query.get("expand", "").lower() in TRUE:
            page = [{**entry, "lastCommit": {"id": sha, "title": "", "date": DATE}} for entry in page]
        return web.json_response(page, headers=headers)

    async def do_paths(self, request: web.Request, kind: str, name: str, revision: str) -> web.Response:
        """Describe some paths; those that are not there are left out."""
        _, files = files_at(self.readable(request, kind, name), revision)
        json_sent = request.content_type == "application/json"
        asked = (await request.json())["paths"] if json_sent else (await request.post()).getall("paths", [])
        paths = [str(path).strip("/") for path in asked]
        every = {entry["path"]: entry for entry in entries(files, "", deep=True)}
        return web.json_response([every[path] for path in paths if path in every])

    async def do_refs(self, request: web.Request, kind: str, name: str) -> web.Response:
        """List branches and tags."""
        repo = self.readable(request, kind, name)
        listed = {
            label: [{"name": ref, "ref": f"refs/{git}/{ref}", "targetCommit": sha} for ref, sha in refs.items()]
            for label, git, refs in (("branches", "heads", repo.branches), ("tags", "tags", repo.tags))
        }
        return web.json_response({**listed, "converts": []})

    async def do_commits(self, request: web.Request, kind: str, name: str, revision: str) -> web.Response:
        """List the commits up to a revision, the newest first."""
        repo = self.readable(request, kind, name)
        history = repo.history(files_at(repo, revision)[0])
        told = [
            {"id": sha, "title": commit.title, "message": "", "authors": [], "date": DATE} for sha, commit in history
        ]
        return web.json_response(told)

    async def do_settings(self, request: web.Request, kind: str, name: str) -> web.Response:
        """Make a repository private or public."""
        repo, body = self.writable(request, kind, name), await request.json()
        repo.private = bool(body.get("private", body.get("visibility") == "private"))
        self.shelf.save(repo)
        return web.json_response({"private": repo.private})

    async def do_access(self, request: web.Request, kind: str, name: str) -> web.Response:
        """Say whether a repository may be read."""
        self.readable(request, kind, name)
        return web.json_response({})

    async def do_branch(self, request: web.Request, kind: str, name: str, branch: str) -> web.Response:
        """Make or remove a branch."""
        return await self._reference(request, self.writable(request, kind, name), "branches", branch)

    async def do_tag(self, request: web.Request, kind: str, name: str, revision: str) -> web.Response:
        """Make or remove a tag; the path names the revision to tag, or the tag to remove."""
        repo = self.writable(request, kind, name)
        return await self._reference(request, repo, "tags", revision)

    async def _reference(self, request: web.Request, repo: Repo, kind: str, named: str) -> web.Response:
        known = getattr(repo, kind)
        if request.method == "DELETE":
            if known.pop(named, None) is None:
                raise Refused(404, f"{named} does not exist", "RevisionNotFound")
        else:
            body = await request.json() if request.can_read_body else {}
            label, start = (named, body.get("startingPoint", "main")) if kind == "branches" else (body["tag"], named)
            if label in known:
                raise Refused(409, f"Reference {label} exists already")
            known[label] = files_at(repo, start)[0]
        self.shelf.save(repo)
        return web.json_response({})

    # Uploads

    async def do_preupload(self, request: web.Request, kind: str, name: str, revision: str) -> web.Response:
        """Say how each file shall come, and what is there under its name."""
        repo = self.writable(request, kind, name)
        _, there = files_at(repo, revision)
        told = []
        for file in (await request.json())["files"]:
            mode = "lfs" if is_lfs(kind, file["path"], file["size"]) else "regular"
            old = {"oid": there[file["path"]].oid} if file["path"] in there else {}
            told.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, **old})
        return web.json_response({"files": told})

    async def do_xet(self, request: web.Request, kind: str, name: str, revision: str) -> web.Response:
        """Refuse what has its server inside a library of the Hub's own."""
        self.readable(request, kind, name)
        raise Refused(404, "The local Hub has no Xet storage: set HF_HUB_DISABLE_XET=1, as LocalHub.environ does.")

    async def do_batch(self, request: web.Request, kind: str | None, name: str) -> web.Response:
        """Say where to put large files; what is there already is not wanted again."""
        self.writable(request, kind, name)
        told = []
        for wanted in (await request.json())["objects"]:
            upload = {"upload": {"href": f"{host(request)}/lfs/{wanted['oid']}", "header": {}}}
            told.append(wanted if self.shelf.has(wanted["oid"]) else {**wanted, "actions": upload})
        return web.json_response({"transfer": "basic", "objects": told}, content_type="application/vnd.git-lfs+json")

    async def do_put(self, request: web.Request, oid: str) -> web.Response:
        """Take a large file, if it is the one that was announced."""
        data = await request.read()
        if hashlib.sha256(data).hexdigest() != oid:
            raise Refused(400, "The content does not have the hash that was announced.")
        self.shelf.add(data, lfs=True)
        return web.Response()

    async def do_commit(self, request: web.Request, kind: str, name: str, revision: str) -> web.Response:
        """Make one commit of all that is told, or none."""
        repo = self.writable(request, kind, name)
        head, there = files_at(repo, revision)
        if revision not in repo.branches:
            raise Refused(400, "Expected the name of a branch.")
        lines = [json.loads(line) for line in (await request.read()).splitlines() if line.strip()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit") not in {None, head}:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(there)
        for line in lines:
            self._apply(line["key"], line["value"], files)
        sha = repo.commit(revision, header["summary"], files)
        self.shelf.save(repo)
        url = f"{host(request)}/{prefix(kind)}{name}/commit/{sha}"
        return web.json_response({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def _apply(self, key: str, value: Mapping[str, Any], files: dict[str, File]) -> None:
        path = value.get("path", "")
        if key == "file":
            files[path] = self.shelf.add(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            if not self.shelf.has(value["oid"]):
                raise Refused(400, f"LFS pointer pointed to a file that does not exist: {value['oid']}")
            files[path] = File(value["oid"], self.shelf.path(value["oid"]).stat().st_size, lfs=True)
        elif key in {"deletedFile", "deletedFolder"}:
            gone = [name for name in files if name == path or (key == "deletedFolder" and is_under(name, path))]
            if not gone:
                raise Refused(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            for each in gone:
                del files[each]

    # Downloads

    async def do_resolve(
        self, request: web.Request, kind: str | None, name: str, revision: str, path: str
    ) -> web.StreamResponse:
        """Send a file, or for one of LFS where it is."""
        sha, files = files_at(self.readable(request, kind, name), revision)
        if path not in files:
            raise Refused(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": sha})
        file, headers = files[path], {"X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        if not file.lfs:
            return self._send(request, file.oid, {**headers, "ETag": f'"{file.oid}"'})
        linked = {"X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.oid}"', "ETag": f'"{file.git_oid}"'}
        return web.Response(
            status=302, headers={**headers, **linked, "Location": f"{elsewhere(request)}/lfs/{file.oid}"}
        )

    async def do_content(self, request: web.Request, oid: str) -> web.StreamResponse:
        """Send a large file by its hash, which only those know who were told it."""
        if not self.shelf.has(oid):
            raise Refused(404, "Not found")
        return self._send(request, oid, {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})

    def _send(self, request: web.Request, oid: str, headers: dict[str, str]) -> web.StreamResponse:
        size = self.shelf.path(oid).stat().st_size
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
        if asked is None or request.method == "HEAD":
            body = b"" if request.method == "HEAD" else self.shelf.path(oid).read_bytes()
            return web.Response(body=body, headers={**headers, "Content-Length": str(size)})
        first = int(asked[1]) if asked[1] else max(0, size - int(asked[2] or 0))
        last = min(int(asked[2]) if asked[1] and asked[2] else size - 1, size - 1)
        if first > last:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
        with self.shelf.path(oid).open("rb") as file:
            file.seek(first)
            body = file.read(last - first + 1)
        return web.Response(status=206, body=body, headers={**headers, "Content-Range": f"bytes {first}-{last}/{size}"})


def owns(user: User, name: str) -> bool:
    """Whether a repository is of a user's."""
    return name.partition("/")[0] == user.name


async def serve(port: int, folder: Path, users: Mapping[str, User]) -> None:
    """Serve until the starting process ends."""
    runner = web.AppRunner(Server(folder, users).app(), access_log=None, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=512, reuse_address=True)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    # The pipe to the starting process ends with that process, so no server outlives its tests.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("users", type=json.loads, help="JSON: {token: [name, whether it may write]}")
    given = parser.parse_args()
    asyncio.run(serve(given.port, given.folder, {token: User(*user) for token, user in given.users.items()}))
