#!/usr/bin/env bash
# From nothing to generated videos on one CPU: installs into .venv, makes a small data set of
# synthetic skies, trains every stage and samples. Nothing but Python packages is downloaded.
#
#   launch/quickstart.sh [WORKDIR]    (default runs/quickstart in the repository)
#
# Run it again after an interruption: finished work is kept and the rest goes on.
set -euo pipefail

SIZE=32
TRAIN_VIDEOS=256
TEST_VIDEOS=32
FRAMES=32
SAMPLES=8

case ${1:-} in
  '') workdir=runs/quickstart ;;
  -*) echo "usage: $0 [WORKDIR]" >&2 && exit 2 ;;
  /* | *://*) workdir=$1 ;;
  *) workdir=$PWD/$1 ;;
esac

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
prepare_environment requirements.txt

run .venv/bin/python -m glober_jax.prepare synthetic_sky --output=data/synthetic_sky \
  --size="$SIZE" --num_videos="$TRAIN_VIDEOS" --num_test_videos="$TEST_VIDEOS" \
  --num_frames="$FRAMES"
run .venv/bin/python -m glober_jax.main --config=configs/quickstart.py --workdir="$workdir"
run .venv/bin/python -m glober_jax.sample --workdir="$workdir" --output="$workdir/samples" \
  --num_videos="$SAMPLES"

echo "Done: videos in $workdir/samples, everything else in $workdir."
