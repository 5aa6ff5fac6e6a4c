"""How every command starts and how it fails: flags in, one clear sentence out."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging

from glober_jax.errors import UserError


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Runs `main(positional_arguments)`; a `UserError` becomes one line and exit status 1.

    So does Ctrl-C, with the status 130 that shells give it.
    """

    def guarded(argv: Sequence[str]) -> None:
        # Libraries report every checkpoint they touch; people want the progress lines.
        logging.set_verbosity(logging.WARNING)
        try:
            main(argv[1:])
        except UserError as error:
            _fail(error)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)

    app.run(guarded, flags_parser=_parse_flags)


def config_value(flag: flags.FlagHolder) -> dict[str, Any]:
    """The config of a `--config` flag. Raises `UserError` where its file cannot be loaded."""
    try:
        return flag.value.to_dict()
    except Exception as error:
        # The file is the user's code: whatever it raises is about the file.
        raise UserError(f"cannot load --config: {_last_line(error)}") from error


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses argv; a mistake in it, config overrides included, ends in one sentence."""
    try:
        return flags.FLAGS(list(argv))
    except (AttributeError, KeyError) as error:
        # What ml_collections raises for an override of a key that is not there.
        _fail(f"unknown config key in a --config.… flag. {_last_line(error)}")
    except (flags.Error, TypeError, ValueError, OSError) as error:
        _fail(f"{_last_line(error)} (see --help)")


def _last_line(error: Exception) -> str:
    """The telling end of a message that may quote a whole stack of frames."""
    message = str(error.args[0] if error.args else error).replace("\\n", "\n").replace("\\'", "'")
    line = [line.strip() for line in message.splitlines() if line.strip(" )")][-1]
    # The message of a KeyError ends in the quote of its own representation.
    return line.removesuffix("'") if line.count("'") % 2 else line


def _fail(message: Any) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
