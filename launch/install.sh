#!/usr/bin/env bash
# Installs what training on this machine needs into .venv:
#
#   launch/install.sh cpu|gpu|tpu    (gpu: NVIDIA, CUDA 13)
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
prepare_for "${1:-}"
