# Sourced by tpu_vm.sh, tpu_pod.sh and gke.sh after options.sh: what they know of TPUs, and what the
# first two do alike with one that is there. Its hosts are called workers.

# shellcheck disable=SC2034 # gke.sh has other flags
spot='' worker=0
flags='name zone project accelerator config workdir spot worker'
# What install.sh needs; the last two to install this repository itself.
code=(glober_jax configs launch requirements*.txt pyproject.toml LICENSE)

check_accelerator() {
  [[ $accelerator =~ ^(v2|v3|v4|v5litepod|v5p|v6e)-[1-9][0-9]*$ ]] ||
    fail "--accelerator=$accelerator is unknown; it is a TPU generation, one of v2, v3, v4," \
      "v5litepod, v5p and v6e, and a size, as in v5litepod-16"
}

check_remote_workdir() {
  [[ $workdir == gs://* ]] ||
    fail "--workdir=$workdir is on one host, and all of them write there: it has to be gs://..."
}

# The software that Google installs on a TPU host, by the TPU's generation.
runtime_version() {
  case ${accelerator%-*} in
    v5litepod) echo v2-alpha-tpuv5-lite ;;
    v5p) echo v2-alpha-tpuv5 ;;
    v6e) echo v2-alpha-tpuv6e ;;
    *) echo tpu-ubuntu2204-base ;;
  esac
}

# on_workers WORKER|all COMMAND
on_workers() {
  local which=$1 command=$2
  run gcloud compute tpus tpu-vm ssh "$name" "--zone=$zone" "--project=$project" \
    "--worker=$which" "--command=$command"
}

# Copies the code, installs what it needs, and starts training in the background, so that it
# outlives the connection. What is printed there goes to train.log.
train_on_workers() {
  check_config
  local archive=${TMPDIR:-/tmp}/glober_jax.tgz
  run tar -czf "$archive" --exclude=__pycache__ "${code[@]}"
  run gcloud compute tpus tpu-vm scp "$archive" "$name:glober_jax.tgz" "--zone=$zone" \
    "--project=$project" --worker=all
  on_workers all 'mkdir -p glober_jax && tar -xzf glober_jax.tgz -C glober_jax'
  # TPU hosts have Python 3.10; uv brings a newer one.
  on_workers all "python3 -m pip install --user --quiet uv &&
python3 -m uv python install --quiet 3.12 &&
export PYTHON=\$(python3 -m uv python find --system 3.12) &&
bash glober_jax/launch/install.sh tpu"
  on_workers all "cd glober_jax || exit
if kill -0 \$(cat train.pid 2>/dev/null) 2>/dev/null; then echo 'already training' >&2; exit 1; fi
nohup bash launch/train.sh --accelerator=tpu $(train_flags) >train.log 2>&1 </dev/null &
echo \$! >train.pid"
}

follow_worker() {
  on_workers "$worker" 'cd glober_jax && tail -n +1 --follow --pid=$(cat train.pid) train.log'
}

# SIGTERM: the step is saved, and the same command goes on from there.
stop_workers() {
  on_workers all 'kill $(cat glober_jax/train.pid)'
}
