"""How every command starts and how it fails: flags in, one clear sentence out."""

import os
import platform
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging

from glober_jax import interruption
from glober_jax.errors import UserError

_CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"

# absl ends --help as it does a mistake, with status 1.
app._exit_before_main = lambda status: sys.exit(0)


def run(main: Callable[[Sequence[str]], None], advice: str = "") -> None:
    """Runs `main(positional_arguments)`; a `UserError` becomes one line and exit status 1.

    So does Ctrl-C, within seconds and with status 130; `advice` then says how to go on.
    """

    def guarded(argv: Sequence[str]) -> None:
        # Libraries report every checkpoint they touch; people want the progress lines.
        logging.set_verbosity(logging.WARNING)
        try:
            main(argv[1:])
        except UserError as error:
            _fail(error)

    interruption.watch()
    interruption.begin(advice)
    _use_compilation_cache()
    # Daemons may have closed them, and a sign that a terminal lacks is no reason to end.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app.run(guarded, flags_parser=_parse_flags)
    except BaseException as error:
        # Libraries make other exceptions of it.
        if isinstance(error, KeyboardInterrupt) or interruption.happened():
            interruption.leave()
        raise


def _use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, unless JAX's own variable is set.

    One folder per machine: programs for one CPU may not run on another that shares the home.
    """
    if _CACHE_VARIABLE in os.environ:
        return
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(home, "glober_jax", "compiled", platform.node())
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return
    os.environ[_CACHE_VARIABLE] = folder
    if "jax" in sys.modules:
        # It has looked for the variable already.
        sys.modules["jax"].config.update("jax_compilation_cache_dir", folder)


def config_value(flag: flags.FlagHolder) -> dict[str, Any]:
    """The config of a `--config` flag. Raises `UserError` where its file cannot be loaded."""
    try:
        return _with_homes(flag.value.to_dict())
    except Exception as error:
        # The file is the user's code: whatever it raises is about the file.
        raise UserError(f"cannot load --config: {_last_line(error)}") from error


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses argv; a mistake in it, config overrides included, ends in one sentence."""
    try:
        # Here for all flags of all commands: shells leave the ~ of --output=~/videos as it is.
        words = flags.FLAGS.read_flags_from_files(list(argv))
        return flags.FLAGS([_flag_with_home(word) for word in words])
    except (AttributeError, KeyError) as error:
        # What ml_collections raises for an override of a key that is not there.
        _fail(f"unknown config key in a --config.… flag. {_last_line(error)}")
    except (flags.Error, TypeError, ValueError, OSError) as error:
        _fail(f"{_last_line(error)} (see --help)")


def _flag_with_home(word: str) -> str:
    name, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return name + equals + os.path.expanduser(value)


def _with_homes(value: Any) -> Any:
    """A config whose texts begin with the folders that `~` and `~user` stand for."""
    if isinstance(value, dict):
        return {key: _with_homes(part) for key, part in value.items()}
    return os.path.expanduser(value) if isinstance(value, str) else value


def _last_line(error: Exception) -> str:
    """The telling end of a message that may quote a whole stack of frames."""
    message = str(error.args[0] if error.args else error).replace("\\n", "\n").replace("\\'", "'")
    line = [line.strip() for line in message.splitlines() if line.strip(" )")][-1]
    # The message of a KeyError ends in the quote of its own representation.
    return line.removesuffix("'") if line.count("'") % 2 else line


def _fail(message: Any) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
