"""Exceptions with messages for the user of a command."""


class UserError(Exception):
    """A mistake that the user can fix: bad config, missing data, an impossible size.

    The message is one sentence (or a short list) with the fault, its place and the remedy. Every
    command prints it without a stack trace and exits with status 1; any other exception is a bug.
    """


class Unfinished(UserError):
    """Work that was interrupted through no fault of its inputs; finished parts are kept."""
