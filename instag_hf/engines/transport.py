"""HTTP to one server: what is sent, what comes back, and which error each kind of failure is.

Servers put their errors into four shapes of JSON and into plain text, so a body is read for what it says and never
trusted to be JSON. Nothing here ever shows a key: not the one that is sent, not one that stands in an address.
"""

import base64
import contextlib
import datetime
import email.utils
import functools
import ipaddress
import json
import math
import os
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

import aiohttp

from instag_hf.engines import Request, env_number, http
from instag_hf.errors import EngineError, InputError, RefusedError, Unreachable
from instag_hf.replies import Reply
from instag_hf.rows import clean

DEFAULT_LIMIT = 256
READ_TIMEOUT_S = 300.0
MAX_RETRY_AFTER_S = 600.0
RETRYABLE = frozenset({424, 429, 500, 502, 503, 504})
OVERLOADED = frozenset({429, 503})
OF_REQUEST = frozenset({424, 500})
REFUSED = frozenset({400, 413, 422})
WANTS_KEY = frozenset({401, 403})
HUGGING_FACE = ("huggingface.co", "huggingface.cloud", "hf.co")
HINTS = {401: " Set INSTAG_API_KEY.", 403: " Check INSTAG_API_KEY.", 404: " Check INSTAG_URL and INSTAG_MODEL."}
MAX_SHOWN = 200
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


class Answer(NamedTuple):
    """A JSON body and the headers it came with."""

    body: Any
    headers: Any


class Telemetry:
    """What a server said of its own work: tokens that it wrote, and how long a request lately queued there."""

    def __init__(self) -> None:
        """Begin with nothing said."""
        self.tokens = 0
        self.queue_s: float | None = None

    def note(self, tokens: int, queue_ms: str | None) -> None:
        """Add one reply; the time in the queue, in milliseconds, only TGI gives, in a header."""
        self.tokens += tokens
        if queue_ms and queue_ms.isdecimal():
            queued_s = int(queue_ms) / 1000
            self.queue_s = queued_s if self.queue_s is None else 0.95 * self.queue_s + 0.05 * queued_s


class HttpEngine:
    """A client of one server; each kind of server adds how it is asked.

    Args:
        url: The server's root, with or without `/v1`.
        key: Sent as a bearer token; `None` sends none, so that no token of the user reaches a strange server.
        proxy: An HTTP proxy on the way there.
        limit: Requests in flight at once.
        read_timeout_s: Seconds without a byte until a request counts as broken, by default `INSTAG_TIMEOUT` or 300;
            waiting for a slot does not count.
    """

    kind = "http"

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        proxy: str | None = None,
        limit: int = DEFAULT_LIMIT,
        read_timeout_s: float | None = None,
    ) -> None:
        """Keep where to ask; nothing is sent yet."""
        parts = urllib.parse.urlsplit(url)
        root = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
        self.url = root.rstrip("/").removesuffix("/v1")
        self._query = f"?{parts.query}" if parts.query else ""
        self.limit = limit
        self.telemetry = Telemetry()
        secrets = {text for text in (key, *_secrets_in(url)) if text}
        self._secrets = tuple(sorted(secrets, key=len, reverse=True))  # one may be a part of another
        self._headers = _authorization(key, parts.username, parts.password)
        self._proxy = proxy
        read_timeout_s = env_number("INSTAG_TIMEOUT", READ_TIMEOUT_S) if read_timeout_s is None else read_timeout_s
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=30.0, sock_read=read_timeout_s)

    @property
    def shown(self) -> str:
        """The address without what may be secret in it."""
        return _shown(self.url)

    def at(self, path: str) -> str:
        """Return the address of a path, with the query that the server's own address has."""
        return self.url + path + self._query

    async def complete(self, request: Request) -> Reply:
        """Complete one request, once; raises as `Engine.complete` says."""
        raise NotImplementedError

    async def prepare(self, request: Request) -> None:
        """Look at the server before the first request; raises as `Engine.prepare` says."""

    async def alive(self) -> bool:
        """Whether the server answers at all, whatever it says."""
        try:
            async with http().get(
                self.at("/health"),
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=10.0),
                proxy=self._proxy,
                allow_redirects=False,
            ):
                return True
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def describe(self) -> dict[str, str]:
        """Name the kind and the address; the key stays out."""
        return {"engine": self.kind, "url": self.shown}

    async def post(self, path: str, body: dict[str, Any]) -> Answer:
        """Send JSON and return the JSON that comes back.

        Raises:
            RefusedError: The server will never take this request.
            Unreachable: Nobody listens.
            EngineError: Anything else.
        """
        try:
            with self._told():
                async with http().post(
                    self.at(path),
                    json=body,
                    headers=self._headers,
                    timeout=self._timeout,
                    proxy=self._proxy,
                    allow_redirects=False,
                ) as answer:
                    text = await answer.text(errors="replace")
                    if answer.status != 200:
                        raise self._failure(answer.status, text, answer.headers.get("Retry-After"))
                    return Answer(json.loads(text), answer.headers)
        except ValueError as error:
            raise EngineError(
                "expected JSON, found something else.", where=self.shown, retryable=True, of_request=True
            ) from error

    async def get(self, path: str, *, must: bool = False) -> Any:
        """Return the JSON at a path, or `None` where there is none.

        Args:
            path: From the server's root on.
            must: Whether a server that fails, or wants a key, is an error and not one without this path.

        Raises:
            Unreachable: Nobody listens.
            EngineError: `must`, and the server has trouble.
        """
        timeout = aiohttp.ClientTimeout(total=10.0)
        try:
            with self._told():
                async with http().get(
                    self.at(path), headers=self._headers, timeout=timeout, proxy=self._proxy, allow_redirects=False
                ) as answer:
                    text = await answer.text(errors="replace")
                    if answer.status in RETRYABLE | WANTS_KEY:
                        raise self._failure(answer.status, text, answer.headers.get("Retry-After"))
                    return json.loads(text) if answer.status == 200 else None
        except ValueError:
            return None
        except EngineError as error:
            if must or isinstance(error, Unreachable):
                raise
            return None

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell in our errors what the connection has."""
        try:
            yield
        except aiohttp.ClientSSLError as error:
            raise EngineError(
                "expected a certificate that this machine trusts, found none. Check the certificate, or write http:// "
                "in INSTAG_URL where the server has none.",
                where=self.shown,
            ) from error
        except aiohttp.ClientProxyConnectionError as error:
            raise Unreachable("the proxy that the environment names does not answer.", where=self.shown) from error
        except aiohttp.ClientHttpProxyError as error:
            raise EngineError(
                f"the proxy that the environment names refuses, status {error.status}. Check HTTPS_PROXY, or name the "
                "server in NO_PROXY.",
                where=self.shown,
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise Unreachable("nobody listens.", where=self.shown) from error
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise EngineError(
                f"the connection broke ({type(error).__name__}).", where=self.shown, retryable=True, of_request=True
            ) from error

    def read_choice(self, answer: Answer, stops: tuple[str, ...]) -> Reply:
        """Read a completion or a chat's in OpenAI's shape, up to the first stop string."""
        try:
            choice, usage = answer.body["choices"][0], answer.body.get("usage") or {}
            text = choice["message"].get("content") if "message" in choice else choice["text"]
            reason = "length" if choice.get("finish_reason") == "length" else "stop"
            asked, written = (int(usage.get(f"{kind}_tokens") or 0) for kind in ("prompt", "completion"))
            self.telemetry.note(written, answer.headers.get("x-queue-time"))
            return Reply(up_to(stops, text or ""), reason, asked, written)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self.unexpected(answer.body) from error

    def unexpected(self, body: Any) -> EngineError:
        """Make the error for a body that is JSON but no completion."""
        return EngineError(
            f"expected a completion, found {self._said(json.dumps(body))!r}.",
            where=self.shown,
            retryable=True,
            of_request=True,
        )

    def _failure(self, status: int, text: str, retry_after: str | None) -> EngineError | RefusedError:
        said = self._said(text)
        if status in REFUSED:
            return RefusedError(f"status {status}: {said}")
        if status in RETRYABLE:
            return EngineError(
                f"status {status}: {said}",
                where=self.shown,
                retryable=True,
                retry_after_s=_seconds(retry_after),
                of_request=status in OF_REQUEST,
                overloaded=status in OVERLOADED,
            )
        return EngineError(f"status {status}: {said}.{HINTS.get(status, '')}", where=self.shown)

    def _said(self, text: str) -> str:
        """Take the message out of an error's body, short and without secrets that the server may have repeated."""
        said = clean(_message(text))
        for secret in self._secrets:
            said = said.replace(secret, "…")
        return " ".join(said.split())[:MAX_SHOWN] or "without a word"


def up_to(stops: tuple[str, ...], text: str) -> str:
    """Cut text where the first stop string begins: some servers leave it in, or what came in one token with it."""
    for stop in stops:
        text = text.partition(stop)[0]
    return text


class Place(NamedTuple):
    """Where a server is and how it is asked, as the arguments of `HttpEngine`."""

    url: str
    key: str | None
    proxy: str | None
    limit: int
    read_timeout_s: float


def place(kind: str) -> Place:
    """Read `INSTAG_URL`, `INSTAG_API_KEY`, `INSTAG_CONCURRENCY`, `INSTAG_TIMEOUT`, and the variables of proxies.

    Without a key of its own, a Hugging Face address gets the user's Hub token, and no other address ever does.

    Raises:
        InputError: `INSTAG_URL` is no address, `INSTAG_CONCURRENCY` no number above 0, or `INSTAG_TIMEOUT` no number.
    """
    url = os.environ.get("INSTAG_URL", "")
    if not _is_address(url):
        found = re.split(r"[?#]", url.rpartition("@")[2])[0]  # what stands before or after may be secret
        raise InputError(
            f"engine {kind}: expected an address such as http://127.0.0.1:8000/v1 in INSTAG_URL, found {found!r}."
        )
    limit = env_number("INSTAG_CONCURRENCY", DEFAULT_LIMIT)
    if limit < 1:
        raise InputError(f"INSTAG_CONCURRENCY: expected at least 1 request at once, found {limit:g}.")
    key = os.environ.get("INSTAG_API_KEY") or _hub_token(url)
    proxy = _proxy_for(url, *(os.environ.get(name) for name in PROXIES))
    return Place(url, key, proxy, int(limit), env_number("INSTAG_TIMEOUT", READ_TIMEOUT_S))


@functools.lru_cache
def _proxy_for(url: str, *environment: str | None) -> str | None:
    """Find the HTTP proxy that this machine names for an address; the variables are those that may change meanwhile.

    A server of this machine needs none, whatever is named.
    """
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if host == "localhost" or _is_loopback(host) or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    named = urllib.request.getproxies()
    proxy = named.get(parts.scheme) or named.get("all") or ""
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    return proxy if _is_address(proxy) else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _is_address(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, half an IPv6 address
        return False


def _hub_token(url: str) -> str | None:
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or not any(host == name or host.endswith(f".{name}") for name in HUGGING_FACE):
        return None
    import huggingface_hub

    token: str | None = huggingface_hub.get_token()
    return token


@functools.lru_cache
def _shown(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))


def _authorization(key: str | None, user: str | None, password: str | None) -> dict[str, str]:
    """A key goes before the name and password of an address, since a request has room for one of them."""
    if key:
        return {"Authorization": f"Bearer {key}"}
    if not user:
        return {}
    pair = base64.b64encode(f"{urllib.parse.unquote(user)}:{urllib.parse.unquote(password or '')}".encode())
    return {"Authorization": f"Basic {pair.decode()}"}


def _secrets_in(url: str) -> list[str]:
    """Find what of an address may be secret, as it stands there and as a server may repeat it."""
    parts = urllib.parse.urlsplit(url)
    raw = [pair.partition("=")[2] for pair in parts.query.split("&")]
    given = [parts.password or "", parts.username or "", *raw]
    read = [urllib.parse.unquote(text) for text in given] + [urllib.parse.unquote_plus(text) for text in given]
    sent = _authorization(None, parts.username, parts.password).get("Authorization", "").removeprefix("Basic ")
    return [text for text in (sent, *given, *read) if text]


def _message(text: str) -> str:
    try:
        body = json.loads(text)
    except ValueError:
        return text
    if isinstance(body, dict):
        body = body.get("error", body.get("detail", body.get("message", body)))
    if isinstance(body, dict):
        body = body.get("message", body)
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)


def _seconds(retry_after: str | None) -> float | None:
    """Read a Retry-After header, seconds or a date, and obey it up to `MAX_RETRY_AFTER_S`."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
        return min(MAX_RETRY_AFTER_S, max(0.0, seconds)) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    now = datetime.datetime.now(datetime.UTC)
    left = (until - (now if until.tzinfo else now.replace(tzinfo=None))).total_seconds()
    return min(MAX_RETRY_AFTER_S, max(0.0, left))
