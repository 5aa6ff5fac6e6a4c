#!/usr/bin/env bash
# Trains on a TPU with one host, such as v5litepod-8, v6e-8 or v4-8:
#
#   launch/tpu_vm.sh create --name=N --zone=Z --project=P --accelerator=v5litepod-8 [--spot=yes]
#   launch/tpu_vm.sh run    --name=N --zone=Z --project=P --config=configs/skytimelapse.py \
#       --workdir=gs://BUCKET/sky -- --config.data.dir=gs://BUCKET/data
#   launch/tpu_vm.sh logs   --name=N --zone=Z --project=P    follows what training prints
#   launch/tpu_vm.sh stop   --name=N --zone=Z --project=P    saves and stops; `run` goes on
#   launch/tpu_vm.sh delete --name=N --zone=Z --project=P    until then it costs money
#
# --dry-run prints the commands and runs none. What follows -- goes to glober_jax.main.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
source launch/options.sh
source launch/tpu.sh
action=${1:-}
(($#)) && shift
parse_options "$@"
need_program gcloud 'see https://cloud.google.com/sdk/docs/install'

case $action in
  create)
    need name zone project accelerator
    check_accelerator
    ((${accelerator##*-} <= 8)) ||
      fail "--accelerator=$accelerator has several hosts: use launch/tpu_pod.sh"
    run gcloud compute tpus tpu-vm create "$name" "--zone=$zone" "--project=$project" \
      "--accelerator-type=$accelerator" "--version=$(runtime_version)" ${spot:+--spot}
    ;;
  run)
    need name zone project config workdir
    train_on_workers
    follow_worker
    ;;
  logs) need name zone project && follow_worker ;;
  stop) need name zone project && stop_workers ;;
  delete)
    need name zone project
    run gcloud compute tpus tpu-vm delete "$name" "--zone=$zone" "--project=$project" --quiet
    ;;
  *) usage ;;
esac
