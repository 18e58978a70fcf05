"""A read-only Hub on this machine: enough of the protocol for the real clients to load a dataset or a model from it."""

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

SHA = "0123456789abcdef0123456789abcdef01234567"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    repos: dict[str, dict[str, bytes]]

    def do_GET(self):
        self._answer(body=True)

    def do_HEAD(self):
        self._answer(body=False)

    def log_message(self, *_):
        pass

    def _answer(self, *, body):
        self.server.requests.append(self.path)
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[0] == "api" and parts[1:2] in (["datasets"], ["models"]):
            self._api("/".join(parts[2:4]), parts[4:], body)
        elif parts[0] == "datasets" and parts[3:4] == ["resolve"]:
            self._file("/".join(parts[1:3]), "/".join(parts[5:]), body)
        elif parts[2:3] == ["resolve"]:  # a model
            self._file("/".join(parts[:2]), "/".join(parts[4:]), body)
        else:
            self._send(404, b"{}", body)

    def _api(self, repo, rest, body):
        files = self.server.repos.get(repo)
        if files is None:
            self._send(404, b"{}", body, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif rest[:1] == ["tree"]:
            folder = "/".join(rest[2:])
            found = [self._entry(path, data) for path, data in files.items() if path.startswith(folder)]
            missing = {"X-Error-Code": "EntryNotFound"}
            self._send(200, json.dumps(found).encode(), body) if found else self._send(404, b"{}", body, missing)
        else:
            siblings = [{"rfilename": path} for path in files]
            info = {"id": repo, "sha": SHA, "siblings": siblings, "private": False, "gated": False, "tags": []}
            self._send(200, json.dumps(info).encode(), body)

    @staticmethod
    def _entry(path, data):
        return {"type": "file", "path": path, "oid": hashlib.sha1(data).hexdigest(), "size": len(data)}

    def _file(self, repo, path, body):
        data = self.server.repos.get(repo, {}).get(path)
        if data is None:
            self._send(404, b"", body, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": SHA})
        else:
            self._send(200, data, body, {"X-Repo-Commit": SHA, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'})

    def _send(self, status, data, body, headers=()):
        self.send_response(status)
        for name, value in {**dict(headers), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


@contextlib.contextmanager
def local_hub(repos):
    """Serve dataset repositories, given as {id: {path: bytes}}, and yield the server; `.url` is its HF_ENDPOINT."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.repos, server.requests = repos, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
