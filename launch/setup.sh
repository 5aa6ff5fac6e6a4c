# Sourced by the other scripts here: moves to the repository root and defines
#   run COMMAND...                prints a command, then runs it
#   prepare_environment FILE...   makes .venv and installs these requirements files, once;
#                                 PYTHON names the Python to make it with (default python3)

cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "error: $*" >&2
  exit 1
}

run() {
  echo "+ $*" >&2
  "$@"
}

prepare_environment() {
  local python=.venv/bin/python stamp
  # The stamp's name changes with the requirements, so editing them installs again.
  stamp=".venv/installed-$(cat "$@" | cksum | cut -d ' ' -f 1)"
  if [[ -e $stamp ]] && "$python" -c '' 2>/dev/null; then
    return
  fi
  # An interrupted set-up may have left a Python without pip, or one that is not a venv's.
  if ! "$python" -c 'import pip, sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null; then
    local base=${PYTHON:-python3}
    "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
      fail "'$base' is not Python 3.11 or newer; set PYTHON to one, as in PYTHON=python3.12 $0"
    run "$base" -m venv --clear .venv
  fi
  local arguments=() file
  for file in "$@"; do
    arguments+=(-r "$file")
  done
  run "$python" -m pip install --quiet --disable-pip-version-check "${arguments[@]}"
  touch "$stamp"
}
