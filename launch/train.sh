#!/usr/bin/env bash
# Trains on this machine, with all its GPUs, its TPU or its CPU. Installs into .venv first.
#
#   launch/train.sh --accelerator=gpu --config=configs/ucf101.py --workdir=runs/ucf101 \
#       -- --config.data.dir=data/ucf101
#
# --accelerator is gpu (NVIDIA, CUDA 13), tpu or cpu. --dry-run prints the commands and runs none.
# What follows -- goes to glober_jax.main. Run it again to go on after an interruption.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
source launch/options.sh
flags='accelerator config workdir'
parse_options "$@"
need accelerator config workdir

prepare_for "$accelerator"
# In place of this shell, so that SIGTERM reaches the training.
run_instead .venv/bin/python -m glober_jax.main "${main_flags[@]}"
