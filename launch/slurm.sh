#!/usr/bin/env bash
# Trains on GPUs of a SLURM cluster, one process for each. Run it on the login node, in a checkout
# that all nodes see; it installs into .venv and submits the job.
#
#   launch/slurm.sh --name=sky --nodes=2 --gpus=8 --config=configs/skytimelapse.py \
#       --workdir=/shared/runs/sky -- --config.data.dir=/shared/data/sky
#
# --gpus is per node. Partition, account and time limit come from SLURM's own variables:
# SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT. --dry-run prints the commands and runs none.
# What follows -- goes to glober_jax.main. Submit it again to go on after an interruption.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
source launch/options.sh
nodes='' gpus=''
flags='name nodes gpus config workdir'
parse_options "$@"
need name nodes gpus config workdir
[[ $nodes/$gpus =~ ^[1-9][0-9]*/[1-9][0-9]*$ ]] ||
  fail "--nodes=$nodes and --gpus=$gpus have to be numbers, 1 or more"
need_program sbatch 'run this on a login node of a SLURM cluster'

prepare_for gpu
# If one process fails the others would wait for it. Two minutes before the time limit they are
# told to save. A job that others preempt is queued again, and goes on.
run sbatch "--job-name=$name" "--nodes=$nodes" "--ntasks-per-node=$gpus" \
  "--gpus-per-node=$gpus" --signal=TERM@120 --requeue --open-mode=append \
  "--output=slurm-%j.log" \
  "--wrap=srun --kill-on-bad-exit=1 .venv/bin/python -m glober_jax.main $(quoted "${main_flags[@]}")"
