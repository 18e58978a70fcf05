"""A server in a process of its own, on 127.0.0.1: started, asked about itself, ended at once, started again."""

import json
import subprocess
import sys
import urllib.request
from types import TracebackType
from typing import Any, Self


class ServerProcess:
    """Runs a module that prints its port, and ends when its standard input does, so that it outlives no test."""

    def __init__(self, port: int = 0) -> None:
        """Keep where it shall listen.

        Args:
            port: 0 takes a free one.
        """
        self.port = port
        self.pid = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where the server answers; the same after a restart."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start the server, or start it again on the port it had; it has forgotten what it was told and has seen.

        Raises:
            OSError: It ended before it listened.
        """
        command = [sys.executable, "-m", *self._words()]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line.strip():
            self.kill()
            raise OSError(
                f"{type(self).__name__}: expected a server on port {self.port or 'of its own'}, found none: its error "
                "stands above. Choose another port where that one is taken."
            )
        self.port, self.pid = int(line), self._process.pid
        return self

    def kill(self) -> None:
        """End the server at once, in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdout, self._process.stdin):
                if stream is not None:
                    stream.close()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _words(self) -> list[str]:
        """Return the module and its arguments; the first is the port."""
        raise NotImplementedError

    def _control(self, name: str, body: Any) -> Any:
        request = urllib.request.Request(f"{self.url}/control/{name}", data=json.dumps(body).encode())
        straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy knows this machine's ports
        with straight.open(request, timeout=30) as answer:
            return json.load(answer)
