#!/usr/bin/env bash
# Runs the tests on the CPU in .venv, made when missing, two files at a time. Arguments go to pytest:
#
#   launch/test.sh [PYTEST ARGUMENTS]    (-n 0: one at a time, as --pdb needs)
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
prepare_environment requirements.txt requirements-dev.txt

export JAX_PLATFORMS=cpu
# In the order of the files: the long ones, of few tests, would come last and leave one core idle.
run .venv/bin/python -m pytest -n 2 --dist=loadfile --no-loadscope-reorder "$@"
