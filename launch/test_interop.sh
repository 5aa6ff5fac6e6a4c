#!/usr/bin/env bash
# Compares converted networks and embedded captions with the libraries that made them: installs
# torch, diffusers and transformers into .venv and runs the tests that are skipped without them; and
# Apache Beam, whose local runners make the data sets that the pool makes.
#
#   launch/test_interop.sh [PYTEST ARGUMENTS]
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
prepare_environment requirements.txt requirements-dev.txt requirements-interop.txt \
  requirements-beam.txt

export JAX_PLATFORMS=cpu
run .venv/bin/python -m pytest tests/interop/test_{clip_text,diffusers,torch_file}.py \
  tests/data/test_beam.py "$@"
