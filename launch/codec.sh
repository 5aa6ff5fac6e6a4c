#!/usr/bin/env bash
# Makes glober_jax/builtin/f4.safetensors: fetches freely licensed photographs (Debian and PyPI),
# cuts pieces out of them and of synthetic skies, and trains the codec, first by L1 alone, then
# with LPIPS and the patch adversary. Hours on two cores; run it again to go on.
#
#   launch/codec.sh [WORKDIR]    (default runs/codec in the repository)
#
# Needs apt-get and dpkg-deb for the Debian packages; launch/pictures.py lists what is taken.
set -euo pipefail

L1_STEPS=3650
STEPS=7500
PACKAGES=(plasma-workspace-wallpapers mate-backgrounds lomiri-wallpapers-16.04)

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
workdir=$(folder_argument runs/codec "$@")
prepare_environment requirements.txt requirements-eval.txt

mkdir -p data/photographs
for package in "${PACKAGES[@]}"; do
  if [[ ! -d data/photographs/$package ]]; then
    (cd data/photographs && run apt-get download --quiet "$package")
    run dpkg-deb -x "$(echo "data/photographs/${package}"_*.deb)" "data/photographs/$package"
  fi
done
if [[ ! -d data/photographs/python ]]; then
  run .venv/bin/python -m pip install --quiet --no-deps --target data/photographs/python \
    scikit-image==0.26.0 scikit-learn==1.9.1
fi
if [[ ! -d data/pictures ]]; then
  PYTHONPATH=. run .venv/bin/python launch/pictures.py --debian=data/photographs \
    --python=data/photographs/python --output=data/pictures_png
  run .venv/bin/python -m glober_jax.prepare video_folder --input=data/pictures_png \
    --output=data/pictures --size=32 --quality=98
fi
if [[ ! -d data/synthetic_sky ]]; then
  run .venv/bin/python -m glober_jax.prepare synthetic_sky --output=data/synthetic_sky --size=32 \
    --num_videos=768 --num_test_videos=64 --num_frames=16
fi

train() {
  run .venv/bin/python -m glober_jax.main --config=configs/quickstart.py --stage=codec \
    --workdir="$workdir" --config.data.dir=data/pictures --config.data.flip=True \
    --config.model.condition.kind=unconditional --config.model.condition.num_classes=0 \
    --config.sampling.condition_scale=1.0 \
    --config.codec.pretrained= --config.codec.batch_size=16 --config.codec.ema_decay=0.999 \
    --config.codec.kl_weight=1e-3 --config.codec.optimizer.learning_rate=8e-4 \
    --config.codec.optimizer.warmup_steps=100 --config.codec.optimizer.clip_norm=0.5 \
    --config.loop.log_every=50 --config.loop.preview_every=0 --config.loop.checkpoint_every=250 \
    "$@"
}

train --config.codec.steps="$L1_STEPS" --config.codec.optimizer.decay=constant
train --config.codec.steps="$STEPS" --config.codec.perceptual_weight=0.2 \
  --config.codec.adversarial.weight=0.01 --config.codec.adversarial.start_step=4000 \
  --config.codec.adversarial.warmup_steps=300
PYTHONPATH=. run .venv/bin/python launch/ship_codec.py --workdir="$workdir" \
  --debian=data/photographs --python=data/photographs/python --sky=data/synthetic_sky \
  --l1_steps="$L1_STEPS" --cpu_hours=2
