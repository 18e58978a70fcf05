"""A Hub on this machine, for the real clients: create, upload, commit, list, download, load, with tokens and faults.

with LocalHub() as hub:
    subprocess.run([sys.executable, "publish.py"], env={**os.environ, **hub.environ}, check=True)
    assert [seen.route for seen in hub.seen()].count("commit") == 1

The clients read where the Hub is when they are imported. So give `environ` to a process of its own, or let the pytest
plug-in `instag_hf.testing.pytest_plugin` set it for all tests and use its fixture `local_hub`.
"""

import base64
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from instag_hf.errors import InputError
from instag_hf.testing.hub_wire import ROUTES
from instag_hf.testing.process import ServerProcess

OWNER, STRANGER = "me", "stranger"
TOKEN, READ_TOKEN, STRANGERS_TOKEN = "hf_local_write", "hf_local_read", "hf_local_stranger"


class Seen(NamedTuple):
    """A request that was answered: its method, path, the route that it is of, and the status of the answer.

    Routes are "whoami", "create", "delete", "validate", "info", "tree", "paths", "refs", "commits", "settings",
    "access", "branch", "tag", "preupload", "xet", "commit", "batch", "put", "content", "resolve" and "unknown".
    """

    method: str
    path: str
    route: str
    status: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """How the Hub misbehaves on a route.

    Attributes:
        route: One of those that `Seen` names.
        status: The HTTP status that is answered; 0 ends the process in the middle of the request.
        when: "before" the request is done, or "after" it, so that it is done and only its answer is lost.
        times: For how many requests.
        skip: How many requests are answered as they should be before that.
    """

    route: str
    status: int = 0
    when: str = "before"
    times: int = 1
    skip: int = 0

    def __post_init__(self) -> None:
        """Refuse what would never come, by which a test would pass for nothing.

        Raises:
            InputError: There is no such route, or no such moment.
        """
        if self.route not in ROUTES:
            raise InputError(f"fault: expected one of the routes {list(ROUTES)}, found {self.route!r}.")
        if self.when not in {"before", "after"}:
            raise InputError(f"fault: expected before or after, found {self.when!r}.")


class LocalHub(ServerProcess):
    """A Hub in a process of its own, on 127.0.0.1; `start` after it died finds what it had.

    The user `me` has the tokens `TOKEN` (write) and `READ_TOKEN`; `stranger` has `STRANGERS_TOKEN` (write). What large
    files need is the protocol of LFS, since that of Xet has its server inside a library: `environ` turns it off.
    """

    def __init__(self, *, port: int = 0) -> None:
        """Make a folder for what it will keep.

        Args:
            port: Where it listens; 0 takes a free one.
        """
        super().__init__(port)
        self.folder = Path(tempfile.mkdtemp(prefix="local-hub-"))

    @property
    def environ(self) -> dict[str, str]:
        """The variables by which the clients find it, with a cache of their own and the token of `me`."""
        home = self.folder / "home"
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_DATASETS_CACHE": str(home / "datasets"),
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }

    def seen(self, *routes: str) -> list[Seen]:
        """Return the requests since the start, or since `forget`; those of some routes, or all."""
        found = [Seen(**seen) for seen in self._control("seen", None)]
        return [seen for seen in found if not routes or seen.route in routes]

    def fault(self, fault: Fault) -> None:
        """Let it misbehave."""
        self._control("fault", dataclasses.asdict(fault))

    def forget(self) -> None:
        """Let it forget faults and what it has seen, and keep its repositories."""
        self._control("forget", None)

    def add(
        self, repo_id: str, files: Mapping[str, bytes], *, repo_type: str = "dataset", private: bool = False
    ) -> str:
        """Add files to a repository as somebody else's commit, and make it first if need be.

        Returns:
            The commit.
        """
        body = {path: base64.b64encode(data).decode() for path, data in files.items()}
        asked = {"kind": f"{repo_type}s", "repo_id": repo_id, "files": body, "private": private}
        return str(self._control("add", asked))

    def close(self) -> None:
        """End it and remove all that it kept."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _words(self) -> list[str]:
        users = {TOKEN: (OWNER, True), READ_TOKEN: (OWNER, False), STRANGERS_TOKEN: (STRANGER, True)}
        return ["instag_hf.testing.hub_server", str(self.port), str(self.folder / "hub"), json.dumps(users)]
