"""What a call of the client can raise; every message is one sentence."""

from recloop.errors import RecloopError


class ClientError(RecloopError):
    """Root of all errors of the client."""


class UnreachableError(ClientError):
    """No answer came: no connection, a broken one, or a timeout, in the last try as well."""


class UnavailableError(ClientError):
    """The service, or a proxy before it, answered 429, 502, 503 or 504, in the last try as well.

    Attributes:
        status: the HTTP status.
        retry_after: seconds to wait as the answer said; `None` if it did not.
    """

    def __init__(self, message: str, *, status: int, retry_after: float | None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


class RefusedError(ClientError):
    """The service will not answer this request, however often it is sent.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotFoundError(RefusedError):
    """The item is not in the catalogue, or nothing answers at this address."""


class UnexpectedAnswerError(ClientError):
    """An answer came that is none of this service's: another server, or a version that does not fit."""
