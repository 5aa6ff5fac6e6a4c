"""Start of all commands: flags, compilation cache, and one sentence for every mistake."""

import difflib
import os
import platform
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging

from glober_jax import interruption
from glober_jax.errors import UserError

_CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"

# absl ends --help with status 1.
app._exit_before_main = lambda status: sys.exit(0)


def run(main: Callable[[Sequence[str]], None], advice: str = "") -> None:
    """Runs `main(positional_arguments)`; a `UserError` becomes one line and exit status 1.

    Ctrl-C becomes one line with `advice` on how to continue, within seconds, and status 130.
    """

    def guarded(argv: Sequence[str]) -> None:
        # Libraries log every checkpoint at INFO.
        logging.set_verbosity(logging.WARNING)
        try:
            main(argv[1:])
        except UserError as error:
            _fail(error)

    interruption.watch()
    interruption.begin(advice)
    _use_compilation_cache()
    # Daemons may have closed these streams, and terminals may lack characters.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app.run(guarded, flags_parser=_parse_flags)
    except BaseException as error:
        # Libraries turn it into other exceptions.
        if isinstance(error, KeyboardInterrupt) or interruption.happened():
            interruption.leave()
        raise


def no_arguments(argv: Sequence[str]) -> None:
    """Raises `UserError` for positional arguments."""
    if argv:
        raise UserError(f"unexpected argument {argv[0]!r}; every option is a --flag (see --help)")


def one_of(commands: Collection[str], argv: Sequence[str], task: str) -> str:
    """The only positional argument, one of `commands`; `UserError` names them and the `task`."""
    if len(argv) == 1 and argv[0] in commands:
        return argv[0]
    given = f", not {' '.join(argv)!r}" if argv else ""
    near = difflib.get_close_matches(argv[0] if argv else "", commands, n=1)
    hint = f"did you mean {near[0]}?" if near else "see --help"
    raise UserError(f"say what to {task}, {', '.join(commands)}{given} ({hint})")


def command_line(name: str) -> str:
    """The command as it was given, for records: python -m glober_jax.NAME --flags."""
    return shlex.join(["python", "-m", f"glober_jax.{name}", *sys.argv[1:]])


def list_of(kind: Callable[[str], Any], flag: flags.FlagHolder) -> list[Any]:
    """The values of a list flag, as `kind`; `UserError` where one is no such number."""
    try:
        return [kind(value) for value in flag.value]
    except ValueError:
        raise UserError(f"--{flag.name}={','.join(flag.value)}: give numbers") from None


def _use_compilation_cache() -> None:
    """Caches compiled programs in the user's cache folder, unless JAX's own variable is set.

    One folder per machine, since machines with the same home may have different CPUs.
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
        # It has read the variable already.
        sys.modules["jax"].config.update("jax_compilation_cache_dir", folder)


def config_value(flag: flags.FlagHolder) -> dict[str, Any]:
    """The config of a `--config` flag. Raises `UserError` where its file cannot be loaded."""
    try:
        return _with_homes(flag.value.to_dict())
    except Exception as error:
        # The file is the user's code and may raise anything.
        raise UserError(f"cannot load --config: {_last_line(error)}") from error


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses argv and expands ~, which shells leave in --output=~/videos."""
    try:
        words = flags.FLAGS.read_flags_from_files(list(argv))
        return flags.FLAGS([_flag_with_home(word) for word in words])
    except (AttributeError, KeyError) as error:
        # Raised by ml_collections for overrides of unknown keys.
        _fail(f"unknown config key in a --config.… flag. {_last_line(error)}")
    except (flags.Error, TypeError, ValueError, OSError) as error:
        _fail(f"{_last_line(error)} (see --help)")


def _flag_with_home(word: str) -> str:
    name, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return name + equals + os.path.expanduser(value)


def _with_homes(value: Any) -> Any:
    """A config with `~` and `~user` expanded at the beginning of strings."""
    if isinstance(value, dict):
        return {key: _with_homes(part) for key, part in value.items()}
    return os.path.expanduser(value) if isinstance(value, str) else value


def _last_line(error: Exception) -> str:
    """The last line of a message, which may quote a stack trace."""
    message = str(error.args[0] if error.args else error).replace("\\n", "\n").replace("\\'", "'")
    lines = [line.strip() for line in message.splitlines() if line.strip(" )")]
    line = lines[-1] if lines else type(error).__name__
    # The message of a KeyError is a representation in quotes.
    return line.removesuffix("'") if line.count("'") % 2 else line


def _fail(message: Any) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
