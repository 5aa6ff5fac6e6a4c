#!/usr/bin/env bash
# Checks and measures everything on one NVIDIA GPU (CUDA 13), from nothing, in a planned ten minutes:
# installs into .venv; compares bfloat16 with float32; measures a matrix product, the three training
# steps and sampling at the published size; trains the quick start for a short time.
#
#   launch/gpu_check.sh [--tiny] [--dry-run] [FOLDER]    (default runs/gpu_check)
#
#   --tiny       the same on the CPU at a tiny size, to try this script
#   --dry-run    prints the commands and runs none
#
# FOLDER/check.md is for BENCHMARKS.md, FOLDER/check.json has all figures. The published size needs
# 80 GB of memory; BATCH=2 launch/gpu_check.sh takes 2 clips in place of 8 to a step. A part that
# fails is named in check.md, and the others go on.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
folder=runs/gpu_check platform=cuda tiny='' dry_run=''
while (($#)); do
  case $1 in
    --tiny) tiny=yes platform=cpu ;;
    --dry-run) dry_run=yes ;;
    *) folder=$(folder_argument "$folder" "$1") ;;
  esac
  shift
done

batch=${BATCH:-8}
published=(--config=configs/skytimelapse.py --config.mesh.fsdp=1
  "--config.autoencoder.batch_size=$batch" "--config.generator.batch_size=$((4 * batch))")
quickstart=(--config=configs/quickstart.py --config.generator.steps=300)
skies=(--size=32 --num_videos=256 --num_test_videos=8 --num_frames=16)
seconds=10
if [[ $tiny ]]; then
  # The tests' adversary plays from the first step on; here steps without it are measured too.
  published=(--config=tests/end_to_end/tiny_config.py --config.autoencoder.adversarial.start_step=3)
  quickstart=("${published[@]}")
  skies=(--size=16 --num_videos=4 --num_test_videos=2 --num_frames=8)
  seconds=0
fi
requirements=(requirements.txt)
[[ $tiny ]] || requirements+=(requirements-gpu.txt)
prepare_environment "${requirements[@]}"

begin=$SECONDS failed=()
run mkdir -p "$folder"
run rm -rf "$folder/check.md" "$folder/check.json" "$folder/quickstart"

# part NAME COMMAND...: its output goes to FOLDER/check.md, under its name.
part() {
  local name=$1
  shift
  if [[ $dry_run ]]; then
    run env "JAX_PLATFORMS=$platform" "$@"
    return
  fi
  echo "## $name" >>"$folder/check.md"
  if ! run env "JAX_PLATFORMS=$platform" "$@" >>"$folder/check.md"; then
    failed+=("$name")
    echo "FAILED, see what it printed on stderr" >>"$folder/check.md"
  fi
  echo >>"$folder/check.md"
}

benchmark() {
  local name=$1
  shift
  part "$name" .venv/bin/python -m glober_jax.benchmark "$name" "${published[@]}" "$@" \
    "--output=$folder/$name.json"
}

benchmark parity --batch_size=2
benchmark step "--seconds=$seconds"
benchmark sampling "--seconds=$seconds" --num_videos=1 --num_frames=16
part 'synthetic skies' .venv/bin/python -m glober_jax.prepare synthetic_sky \
  "--output=$folder/sky" "${skies[@]}"
part 'quick start' .venv/bin/python -m glober_jax.main "${quickstart[@]}" \
  "--config.data.dir=$folder/sky" "--workdir=$folder/quickstart"

# Parts that failed left no file.
run .venv/bin/python - "$folder" <<'PYTHON'
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
files = {name: folder / f"{name}.json" for name in ("parity", "step", "sampling")}
files["quickstart_seconds"] = folder / "quickstart/logs/seconds.json"
found = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
(folder / "check.json").write_text(json.dumps(found, indent=2) + "\n")
PYTHON
[[ $dry_run ]] && exit
echo "$folder/check.md and check.json, after $((SECONDS - begin)) s" >&2
((${#failed[@]} == 0)) || fail "failed: ${failed[*]}"
