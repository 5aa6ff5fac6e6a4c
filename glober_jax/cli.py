"""How every command starts and how it fails: flags in, one clear sentence out."""

import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from glober_jax.errors import UserError


def _report(error: Exception) -> None:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses argv; a mistake in it, config overrides included, ends in one sentence."""
    try:
        positional = flags.FLAGS(list(argv), known_only=False)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        # ml_collections raises plain Python errors for overrides it cannot apply.
        message = error.args[0] if error.args else error
        _report(UserError(f"{message} (see --help)"))
    return positional


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Runs `main(positional_arguments)`; a `UserError` becomes one line and exit status 1."""

    def guarded(argv: Sequence[str]) -> None:
        # Libraries report every checkpoint they touch; people want the progress lines.
        logging.set_verbosity(logging.WARNING)
        try:
            main(argv[1:])
        except UserError as error:
            _report(error)

    app.run(guarded, flags_parser=_parse_flags)
