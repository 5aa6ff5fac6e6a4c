#!/usr/bin/env bash
# Makes glober_jax/builtin/sky64.safetensors: draws skies at 64x64, trains both stages on the
# packaged codec, and packages and measures the model. About five hours on two cores; run it again
# to go on.
#
#   launch/sky64.sh [WORKDIR]    (default runs/train_sky64 in the repository)
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
workdir=$(folder_argument runs/train_sky64 "$@")
prepare_environment requirements.txt requirements-eval.txt

run .venv/bin/python -m glober_jax.prepare synthetic_sky --output=data/sky64 --size=64 \
  --num_videos=3072 --num_test_videos=512 --num_frames=16
run .venv/bin/python -m glober_jax.main --config=configs/sky64.py --workdir="$workdir"
PYTHONPATH=. run .venv/bin/python launch/ship_model.py --workdir="$workdir" --name=sky64
run .venv/bin/python -m glober_jax.evaluate --workdir=builtin:sky64 --protocol=small@128 \
  --reconstruction --controls --output="$workdir/packaged.json"
PYTHONPATH=. run .venv/bin/python launch/ship_model.py --workdir="$workdir" --name=sky64 \
  --result="$workdir/packaged.json"
