"""What can go wrong with a remote system, grouped by what the caller should do next.

    RemoteError
    ├── TryLater                 nothing happened, or a repeat is harmless: call again, at ``retry_at`` if it is given
    │   ├── Busy                 too many requests: nothing happened, and what was sent is not to blame
    │   ├── LookAgain            nothing happened; what it goes by is to be looked at again before it is sent again
    │   ├── Unreachable          nobody could be spoken to: connection refused, DNS, TLS, time-out
    │   └── BadAnswer            somebody answered, but not as the contract says: HTML, cut short, another shape
    ├── Refused                  the answer is no: never again unchanged
    │   ├── NotFound             there is no such thing
    │   └── CredentialsRejected  a person must correct the setting that the message names
    └── InDoubt                  it may have happened: look at the remote side before anything is sent again

    Malformed                    one received row can't be read; its neighbours can

Every text is one line without control characters and without secrets.
"""

from datetime import datetime


class RemoteError(Exception):
    """A call to a remote system did not succeed."""


class TryLater(RemoteError):
    """The call may be repeated as it is, not before ``retry_at`` (UTC) where the other side named a moment."""

    def __init__(self, message: str, retry_at: datetime | None = None) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class Busy(TryLater):
    """Too many requests (429): nothing happened."""


class LookAgain(TryLater):
    """It clashes with what stands there or with another write just now (409), or its token had run out (401).

    Nothing happened.
    """


class Unreachable(TryLater):
    """No connection, or no answer in time."""


class BadAnswer(TryLater):
    """An answer that is not what the contract says."""


class Refused(RemoteError):
    """The other side said no, with an HTTP ``status`` and the ``detail`` it gave (blank if none).

    ``had_no_effect``: provably; not where an earlier try of the same call got no proper answer.
    """

    def __init__(self, message: str, status: int, detail: str = "", *, had_no_effect: bool = True) -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail
        self.had_no_effect = had_no_effect


class NotFound(Refused):
    """What the call names does not exist there."""


class CredentialsRejected(Refused):
    """The credentials are wrong, revoked, or of another account."""


class InDoubt(RemoteError):
    """A call that must not be repeated blindly was sent, and whether it took effect is not known."""


class Malformed(ValueError):
    """A received row that can't be read: why, and the remote id of the row where that much could be read."""

    def __init__(self, reason: str, remote_id: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remote_id = remote_id
