"""What can go wrong, as one tree.

    InstagError
    ├── InputError     the call cannot work; told before any request (also a ValueError)
    ├── MissingError   an optional package or a model file is not there; says how to get it (also an ImportError)
    ├── RowFailure     one row fails, and its `instag_error` says why
    │   ├── RowError       it has nothing to tag                            kind "row"
    │   ├── ReplyError     the model answered, but not as asked             kind "parse", "truncated" or "reply"
    │   └── RefusedError   the engine does not accept this one request      kind "refused"
    ├── EngineError    the engine cannot answer at all; stops the run, and a rerun goes on where it stopped
    │   └── Unreachable    nobody listens where the engine should be; waited for before the run stops
    ├── HubError       the Hub cannot be asked, or does not take what is published; what it had is whole
    │   ├── AccessError    the token is none, a wrong one, or may not do this
    │   └── RepoError      there is no such repo or revision, or it is private and the token may not see it
    ├── Interrupted    Ctrl-C during a run of the command line; a rerun goes on where it stopped
    └── StoreError     the reply store cannot be read or written; stops the run

A failure of one row is written into the row and counted, never raised out of `Dataset.map`, because one raising row
loses every row that was done before it.
"""


class InstagError(Exception):
    """Catch this to catch every error the package raises on purpose."""


class InputError(InstagError, ValueError):
    """The call cannot work as it was made; nothing was asked yet."""


class MissingError(InstagError, ImportError):
    """Something optional is not installed; the message holds the command that installs it."""


class RowFailure(InstagError):
    """A failure of one row, told in the row's `instag_error` column as `kind: sentence`."""

    kind = ""

    def __init__(self, message: str, *, kind: str = "") -> None:
        """Keep the kind, where it is not the one that the class stands for."""
        super().__init__(message)
        self.kind = kind or self.kind


class RowError(RowFailure):
    """A row has nothing to tag: an empty or missing field, no user turn, a malformed turn."""

    kind = "row"


class ReplyError(RowFailure):
    """A reply holds no tags in the format asked for.

    Its kind is "parse" (not of the format), "truncated" (cut by its length) or "reply" (an empty list); a judge's also
    "range" (it names what was not asked about).
    """

    kind = "parse"


class RefusedError(RowFailure):
    """The engine answered that it will not, or cannot, complete this one request."""

    kind = "refused"


class EngineError(InstagError):
    """The engine cannot answer, so going on would only produce failures."""

    def __init__(
        self,
        message: str,
        *,
        where: str = "",
        retryable: bool = False,
        retry_after_s: float | None = None,
        of_request: bool = False,
        overloaded: bool = False,
    ) -> None:
        """Keep what to do about it.

        Args:
            message: What happened.
            where: The server's address, which goes before the message and, unlike it, into no row.
            retryable: Whether trying again may help.
            retry_after_s: How many seconds the server asked to wait.
            of_request: Whether the request itself may be the cause, so that only its row fails if trying does not help.
            overloaded: Whether the server says that it has too much to do, so that less should be in flight.
        """
        super().__init__(f"{where}: {message}" if where else message)
        self.what = message
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.of_request = of_request
        self.overloaded = overloaded


class Unreachable(EngineError):  # noqa: N818 - reads as what it is in `except Unreachable`
    """Nobody listens at the engine's address."""


class HubError(InstagError):
    """The Hub cannot be asked, or does not take what is published; nothing on it has changed."""


class AccessError(HubError):
    """The token is none, a wrong one, or may not do this."""


class RepoError(HubError):
    """There is no such repo or revision, or it is private and the token may not see it: the Hub does not say which."""


class Interrupted(InstagError):  # noqa: N818 - reads as what it is in `except Interrupted`
    """Somebody pressed Ctrl-C; what was answered is kept."""


class StoreError(InstagError):
    """The reply store cannot be used; the message says where it is and what to do."""
