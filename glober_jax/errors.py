"""Exceptions whose message is written for the person at the keyboard."""


class UserError(Exception):
    """Something the person can fix: bad config, missing data, an impossible size.

    The message is one clear sentence (or a short list) that says what was wrong,
    where, and what to do. Every entry point prints it without a stack trace and
    exits with status 1; everything else that is raised is a bug and keeps its trace.
    """


class Unfinished(UserError):
    """Work that stopped halfway through no fault of its inputs; what is finished is kept."""
