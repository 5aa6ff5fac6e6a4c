#!/usr/bin/env bash
# Trains on a TPU slice of a GKE cluster that xpk has made (xpk cluster create):
#
#   launch/gke.sh create --name=N --cluster=C --zone=Z --project=P --accelerator=v5litepod-256 \
#       --config=configs/skytimelapse.py --workdir=gs://BUCKET/sky \
#       -- --config.data.dir=gs://BUCKET/data
#   launch/gke.sh list   --cluster=C --zone=Z --project=P
#   launch/gke.sh delete --name=N --cluster=C --zone=Z --project=P
#
# xpk puts the code into a container image, so docker has to run here. --dry-run prints the commands
# and runs none. What follows -- goes to glober_jax.main. To go on after an interruption, delete and
# create again.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
source launch/options.sh
source launch/tpu.sh
cluster=''
flags='name cluster zone project accelerator config workdir'
action=${1:-}
(($#)) && shift
parse_options "$@"
need_program xpk "'pip install xpk' installs it"

case $action in
  create)
    need name cluster zone project accelerator config workdir
    check_accelerator
    check_config
    check_remote_workdir
    image=${TMPDIR:-/tmp}/glober_jax_image
    run rm -rf "$image"
    run mkdir "$image"
    run cp -R "${code[@]}" "$image"
    # exec, so that SIGTERM reaches the training. Hosts that were taken away are asked for again.
    run xpk workload create "--workload=$name" "--cluster=$cluster" "--zone=$zone" \
      "--project=$project" "--tpu-type=$accelerator" --num-slices=1 --max-restarts=10 \
      --base-docker-image=python:3.12 "--script-dir=$image" \
      "--command=exec bash launch/train.sh --accelerator=tpu $(train_flags)"
    ;;
  list)
    need cluster zone project
    run xpk workload list "--cluster=$cluster" "--zone=$zone" "--project=$project"
    ;;
  delete)
    need name cluster zone project
    run xpk workload delete "--workload=$name" "--cluster=$cluster" "--zone=$zone" \
      "--project=$project"
    ;;
  *) usage ;;
esac
