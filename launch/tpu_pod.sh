#!/usr/bin/env bash
# Trains on a TPU slice with many hosts, such as v5litepod-256 or v4-1024, asked for by a queued
# resource:
#
#   launch/tpu_pod.sh create --name=N --zone=Z --project=P --accelerator=v5litepod-256 [--spot=yes]
#   launch/tpu_pod.sh wait   --name=N --zone=Z --project=P    what create ends with
#   launch/tpu_pod.sh run    --name=N --zone=Z --project=P --config=configs/skytimelapse.py \
#       --workdir=gs://BUCKET/sky -- --config.data.dir=gs://BUCKET/data
#   launch/tpu_pod.sh logs   --name=N --zone=Z --project=P [--worker=0]    follows what it prints
#   launch/tpu_pod.sh stop   --name=N --zone=Z --project=P    saves and stops; `run` goes on
#   launch/tpu_pod.sh delete --name=N --zone=Z --project=P    until then it costs money
#
# `create` waits until the slice is there, which can take hours. --dry-run prints the commands and
# runs none. What follows -- goes to glober_jax.main.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
source launch/options.sh
source launch/tpu.sh
action=${1:-}
(($#)) && shift
parse_options "$@"
need_program gcloud 'see https://cloud.google.com/sdk/docs/install'

wait_until_active() {
  local state
  local describe=(gcloud compute tpus queued-resources describe "$name" "--zone=$zone"
    "--project=$project" '--format=value(state.state)')
  if [[ $dry_run ]]; then
    echo "$(quoted "${describe[@]}")  # every 30 s until it says ACTIVE"
    return
  fi
  while true; do
    state=$("${describe[@]}") && [[ $state ]] || fail "gcloud told no state of $name;" \
      "to wait again: $script wait --name=$name --zone=$zone --project=$project"
    case $state in
      ACTIVE) return ;;
      FAILED | SUSPENDING | SUSPENDED)
        fail "the queued resource $name is $state; delete it: $script delete --name=$name" \
          "--zone=$zone --project=$project"
        ;;
    esac
    echo "$name is $state" >&2
    sleep 30
  done
}

case $action in
  create)
    need name zone project accelerator
    check_accelerator
    # The queued resource and the slice it becomes share a name.
    run gcloud compute tpus queued-resources create "$name" "--node-id=$name" "--zone=$zone" \
      "--project=$project" "--accelerator-type=$accelerator" "--runtime-version=$(runtime_version)" \
      ${spot:+--spot}
    wait_until_active
    ;;
  wait) need name zone project && wait_until_active ;;
  run)
    need name zone project config workdir
    check_remote_workdir
    train_on_workers
    follow_worker
    ;;
  logs) need name zone project && follow_worker ;;
  stop) need name zone project && stop_workers ;;
  delete)
    need name zone project
    run gcloud compute tpus queued-resources delete "$name" "--zone=$zone" "--project=$project" \
      --force --quiet
    ;;
  *) usage ;;
esac
