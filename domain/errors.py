"""The one root of our exceptions. Retryable or terminal: that alone decides whether a message goes back or is parked."""


class SluiceError(Exception):
    """Something went wrong that we can name; the message says what happened, what was kept, what to do."""

    retryable = False


class BadInput(SluiceError):
    """Input from a person or from the bus that breaks a rule; nothing was stored."""


class Unreachable(SluiceError):
    """Something we need (server, file, disk) does not answer now; trying later can help."""

    retryable = True


class Conflict(SluiceError):
    """Another writer was first: the expected sequence did not hold. `actual`: the last one there is, where it was said."""

    retryable = True

    def __init__(self, message: str = "", actual: int | None = None) -> None:
        super().__init__(message)
        self.actual = actual


class Forbidden(SluiceError):
    """Rights do not reach so far; nothing was stored, and trying again will not change that."""
