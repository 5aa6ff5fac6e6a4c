#!/usr/bin/env bash
# Runs the tests on the CPU in .venv, made when missing. Arguments go to pytest:
#
#   launch/test.sh [PYTEST ARGUMENTS]
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
prepare_environment requirements.txt requirements-dev.txt

export JAX_PLATFORMS=cpu
run .venv/bin/python -m pytest "$@"
