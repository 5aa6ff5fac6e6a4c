"""The exception type of mistakes that the user can correct."""


class UserError(Exception):
    """A mistake that the user can correct, such as a bad config or missing data.

    The message is one sentence with the cause, the place and the remedy. Commands print it without
    a stack trace and exit with status 1; every other exception is a bug.
    """
