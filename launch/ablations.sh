#!/usr/bin/env bash
# Trains GLOBER with one part changed or left out at a time, the published design and a plain video
# diffusion model, all for as many operations, and writes docs/results.md. Makes its own data.
#
#   launch/ablations.sh --accelerator=gpu --size=64
#
# --accelerator is cpu (the default), gpu (NVIDIA, CUDA 13) or tpu, of which one chip is used, for
# the batches are small; --size is that of frames, 32 (the default) or 64. --rows=ours,plain_video
# makes some rows only, --output=DIR keeps the runs elsewhere than in runs/ablations_SIZE. --dry-run
# prints the commands and runs none. What follows -- goes to glober_jax.ablate. Run it again to go
# on after an interruption, or with more rows.
set -euo pipefail

TRAIN_VIDEOS=768
TEST_VIDEOS=64
FRAMES=16

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
source launch/options.sh
flags='accelerator size output rows'
size=32 accelerator=cpu output='' rows=''
parse_options "$@"
case $size in
  32) data=data/synthetic_sky results=docs/results.md ;;
  64) data=data/synthetic_sky_64 results=docs/results_64.md ;;
  *) fail "--size=$size is not possible; it is 32 or 64" ;;
esac

case $accelerator in
  gpu) one_chip=(env CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-0}") ;;
  tpu)
    one_chip=(env "TPU_PROCESS_BOUNDS=1,1,1" "TPU_CHIPS_PER_PROCESS_BOUNDS=1,1,1" TPU_VISIBLE_CHIPS=0)
    ;;
  *) one_chip=() ;;
esac

prepare_for "$accelerator"
run .venv/bin/python -m glober_jax.prepare synthetic_sky --output="$data" --size="$size" \
  --num_videos="$TRAIN_VIDEOS" --num_test_videos="$TEST_VIDEOS" --num_frames="$FRAMES"
run_instead ${one_chip[@]+"${one_chip[@]}"} .venv/bin/python -m glober_jax.ablate --size="$size" \
  --output="${output:-runs/ablations_$size}" --results="$results" ${rows:+"--rows=$rows"} \
  "${main_flags[@]:2}"
