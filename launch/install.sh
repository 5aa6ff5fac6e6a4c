#!/usr/bin/env bash
# Installs what training on this machine needs into .venv, and this repository, to be edited, so
# that a notebook anywhere can import it:
#
#   launch/install.sh cpu|gpu|tpu    (gpu: NVIDIA, CUDA 13)
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
prepare_for "${1:-}"
run .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
