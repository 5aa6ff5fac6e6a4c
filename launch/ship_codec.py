"""Writes a trained codec as `glober_jax/builtin/f4.safetensors`, and its model card beside it.

    python launch/ship_codec.py --workdir=runs/codec --debian=DIR --python=DIR \\
        --sky=data/synthetic_sky --l1_steps=N --cpu_hours=H

The card's figures are measured on what is written, float16 and all: on pieces of 64x64 and 128x128
pixels of photographs that were trained on and of those that were not, and on the skies of the
quick start's test split. --debian and --python are those of launch/pictures.py.
"""

import argparse
import hashlib
import json
from pathlib import Path

import jax
import numpy as np
from pictures import PHOTOGRAPHS, cut_piece, open_photograph

from glober_jax.data.clips import ClipSpec
from glober_jax.data.loader import eval_clips
from glober_jax.data.source import open_videos
from glober_jax.evaluation.metrics.frame_quality import frame_measures, metrics_of
from glober_jax.experiment import config
from glober_jax.models.frame_codec import normalise_frames, to_pixels
from glober_jax.models.latents import Gaussian
from glober_jax.models.networks import Networks, Params
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.training.packaged_model import write_builtin
from glober_jax.training.restore import load_codec, load_config, load_pretrained_codec

OUTPUT = Path("glober_jax/builtin/f4.safetensors")
PIECES_PER_PHOTOGRAPH = 16
_SKY = ClipSpec(num_key_frames=0)


def pieces(debian: Path, python: Path, size: int, held_out: bool) -> np.ndarray:
    """uint8 [N, size, size, 3]: the same number of every photograph of one kind."""
    rng = np.random.default_rng(size)
    return np.stack(
        [
            np.asarray(cut_piece(image, size, rng))
            for photograph in PHOTOGRAPHS
            if photograph.held_out == held_out
            for image in [open_photograph(photograph, debian, python)]
            for _ in range(PIECES_PER_PHOTOGRAPH)
        ]
    )


def measure(networks: Networks, params: Params, clips_NTHWC: np.ndarray) -> dict[str, float]:
    """Mean PSNR, SSIM and LPIPS (AlexNet) of the codec's round trip of frames."""

    @jax.jit
    def both_ways(frames: jax.Array) -> jax.Array:
        moments = networks.apply(params, "frame_codec", normalise_frames(frames), method="encode")
        mean = Gaussian.from_moments(moments).mean
        return to_pixels(networks.apply(params, "frame_codec", mean, method="decode"))

    size = clips_NTHWC.shape[2]
    measures = frame_measures(metrics_of(size))
    values = [
        [measure(np.asarray(both_ways(clip)), clip).mean() for measure in measures.values()]
        for clip in clips_NTHWC
    ]
    return dict(zip(measures, np.mean(values, axis=0).tolist(), strict=True))


CARD = """# builtin:f4, a small frame codec

Frames to latents of a quarter of their side with 8 channels, and back: {parameters:,} parameters,
a KL autoencoder of 2x2 patches without norms or attention, for frames of any size that is a
multiple of four. Architecture: `config.model.frame_codec` = `{made_with}`.

Trained by `launch/codec.sh`: {steps} steps of 16 pieces of 32x32 pixels, half of them of
photographs and half of synthetic skies, {l1_steps} by L1 alone, then with LPIPS (VGG16) and a
patch adversary; AdamW, EMA 0.999; about {cpu_hours} CPU-hours (a server's CPU; no GPU).

Measured on the float16 weights, means over frames (`python launch/ship_codec.py`):

| frames | PSNR, dB | SSIM | LPIPS (AlexNet) |
|---|---|---|---|
{rows}

Weights: `f4.safetensors`, {size:,} bytes, SHA-256 `{sha256}`. Licence: Apache-2.0, as the package.

## What it was trained on

Synthetic skies of this package (`glober_jax.prepare synthetic_sky`, seed 1), and pieces of these
photographs, none of which is redistributed here; "test" ones were only measured on.

| package | picture | author | licence | |
|---|---|---|---|---|
{pictures}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("workdir", "debian", "python", "sky"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--l1_steps", type=int, required=True)
    parser.add_argument("--cpu_hours", type=float, required=True)
    arguments = parser.parse_args()

    stored, mesh = load_config(arguments.workdir), make_mesh(MeshShape())
    networks = config.parse(stored).networks
    step, params = load_codec(networks, arguments.workdir, mesh)
    made_with = json.dumps(stored["model"]["frame_codec"])
    write_builtin(OUTPUT, params, made_with)
    params = load_pretrained_codec(networks, "builtin:f4", mesh)

    sources = {
        f"{size}x{size}, photographs {'not seen' if held_out else 'trained on'}": pieces(
            arguments.debian, arguments.python, size, held_out
        )[:, None]
        for size in (64, 128)
        for held_out in (False, True)
    }
    sources["32x32, skies not seen"] = eval_clips(open_videos(arguments.sky, "test"), _SKY, 64)[
        "frames"
    ]
    rows = []
    for name, clips in sources.items():
        found = measure(networks, params, clips)
        rows.append(
            f"| {name} | {found['psnr']:.2f} | {found['ssim']:.4f} | {found['lpips']:.4f} |"
        )
        print(rows[-1], flush=True)
    pictures = [
        f"| {p.package} | {p.path.removesuffix('/contents/images').split('/')[-1]} | {p.author} | "
        f"{p.licence} | {'test' if p.held_out else 'train'} |"
        for p in PHOTOGRAPHS
    ]
    card = CARD.format(
        parameters=networks.count_parameters()["frame_codec"],
        made_with=made_with,
        steps=step,
        l1_steps=arguments.l1_steps,
        cpu_hours=arguments.cpu_hours,
        rows="\n".join(rows),
        size=OUTPUT.stat().st_size,
        sha256=hashlib.sha256(OUTPUT.read_bytes()).hexdigest(),
        pictures="\n".join(pictures),
    )
    OUTPUT.with_suffix(".md").write_text(card)


if __name__ == "__main__":
    main()
