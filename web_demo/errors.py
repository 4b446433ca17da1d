"""Every error that a user of the services can see.

    ServiceError                 500 internal_error
    ├── InvalidRequest           400 invalid_request      the request itself is wrong
    │   └── NothingHeard         400 nothing_heard        there are no words in what the user said
    ├── Unauthorized             401 unauthorized         no key, or a wrong one
    ├── Forbidden                403 forbidden            not allowed here (origin, path)
    ├── NotFound                 404 not_found
    ├── TooSlow                  408 request_timeout      the client stopped sending half way
    ├── TooLarge                 413 too_large            over a cap on bytes, seconds or characters
    ├── UnsupportedMedia         415 unsupported_media    not audio, or none that can be read
    ├── Busy                     429 busy                 the queue or the sessions are full, come back later
    ├── EngineFailed             500 engine_failed        the engine could not finish this one request
    │   └── NoSound              502 no_sound             the voice gave silence for a text that has words
    └── Unavailable              503 unavailable          loading, restarting, or not able to serve
    SetupError                   wrong settings or missing files at start; never sent to a client
    DeviceLost                   this process cannot use its GPU any more; never sent to a client

A message is written for the person who reads it: what came, what was expected, what to do. It holds no secret and no
traceback; the log gets those, once, where the error is handled.
"""

from __future__ import annotations


class SetupError(Exception):
    """The service cannot start as asked: the message says which setting or file is wrong and what to do."""


class DeviceLost(Exception):
    """The GPU failed in a way that ends this process's use of it, as with most CUDA errors but a lack of memory: every later
    call fails too, and only a new process can help."""


class ServiceError(Exception):
    """An error with an HTTP status, a stable `code` and a message that may be shown to a user."""

    status = 500
    code = "internal_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequest(ServiceError):
    status = 400
    code = "invalid_request"


class NothingHeard(InvalidRequest):
    code = "nothing_heard"


class Unauthorized(ServiceError):
    status = 401
    code = "unauthorized"


class Forbidden(ServiceError):
    status = 403
    code = "forbidden"


class NotFound(ServiceError):
    status = 404
    code = "not_found"


class TooSlow(ServiceError):
    status = 408
    code = "request_timeout"


class TooLarge(ServiceError):
    status = 413
    code = "too_large"


class UnsupportedMedia(ServiceError):
    status = 415
    code = "unsupported_media"


class Busy(ServiceError):
    """Over a limit on concurrent work; `retry_after_s` goes out as the `Retry-After` header."""

    status = 429
    code = "busy"

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineFailed(ServiceError):
    code = "engine_failed"


class NoSound(EngineFailed):
    status = 502
    code = "no_sound"


class Unavailable(ServiceError):
    status = 503
    code = "unavailable"
