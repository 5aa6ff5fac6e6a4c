# Sourced by the other scripts here: moves to the repository root and defines
#   fail SENTENCE                 ends with an error
#   folder_argument DEFAULT [ARGUMENT]
#                                 prints the folder that a script was given; a relative one is in
#                                 the folder that the script was started from
#   quoted WORD...                prints words as a shell reads them back
#   run COMMAND...                prints a command, then runs it; if dry_run is set, only prints it
#   run_instead COMMAND...        the same, in place of this shell: signals reach the command
#   prepare_environment FILE...   makes .venv and installs these requirements files, once;
#                                 PYTHON names the Python to make it with (default python3)
#   prepare_for ACCELERATOR       the same with what training on cpu, gpu or tpu needs

started_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

fail() {
  echo "error: $*" >&2
  exit 1
}

folder_argument() {
  case ${2:-} in
    '') echo "$1" ;;
    -*) fail "'$2' is not understood; the head of $0 says what is" ;;
    /* | *://*) echo "$2" ;;
    *) echo "$started_from/$2" ;;
  esac
}

quoted() {
  local word line=
  for word in "$@"; do
    if [[ ! $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then
      word=\'${word//\'/\'\\\'\'}\'
    fi
    line+=" $word"
  done
  echo "${line# }"
}

run() {
  if [[ ${dry_run:-} ]]; then
    quoted "$@"
    return
  fi
  echo "+ $(quoted "$@")" >&2
  "$@"
}

run_instead() {
  if [[ ${dry_run:-} ]]; then
    run "$@"
  else
    run exec "$@"
  fi
}

prepare_environment() {
  local python=.venv/bin/python base=${PYTHON:-python3} file stamp
  local install=("$python" -m pip install --quiet --disable-pip-version-check)
  for file in "$@"; do
    install+=(-r "$file")
  done
  if [[ ${dry_run:-} ]]; then
    run "$base" -m venv --clear .venv
    run "${install[@]}"
    return
  fi
  # The stamp's name changes with the requirements, so editing them installs again.
  stamp=".venv/installed-$(cat "$@" | cksum | cut -d ' ' -f 1)"
  if [[ -e $stamp ]] && "$python" -c '' 2>/dev/null; then
    return
  fi
  # An interrupted set-up may have left a Python without pip, or one that is not a venv's.
  if ! "$python" -c 'import pip, sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null; then
    "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
      fail "'$base' is not Python 3.11 or newer; set PYTHON to one, as in PYTHON=python3.12 $0"
    run "$base" -m venv --clear .venv
  fi
  run "${install[@]}"
  touch "$stamp"
}

prepare_for() {
  # The configs at full size train the codec with LPIPS and grade by FVD.
  local files=(requirements.txt requirements-eval.txt)
  case $1 in
    cpu) ;;
    gpu | tpu) files+=("requirements-$1.txt") ;;
    *) fail "accelerator '$1' is unknown; it is cpu, gpu or tpu" ;;
  esac
  prepare_environment "${files[@]}"
}
