"""Writes a trained model as `glober_jax/builtin/NAME.safetensors`, and its model card beside it.

    python launch/ship_model.py --workdir=runs/train_sky64 --name=sky64
    python -m glober_jax.evaluate --workdir=builtin:sky64 --protocol=small@128 --reconstruction \\
        --controls --output=runs/train_sky64/packaged.json
    python launch/ship_model.py --workdir=runs/train_sky64 --name=sky64 \\
        --result=runs/train_sky64/packaged.json

The first call packages, the last writes the card with what was measured of the package.
"""

import argparse
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from glober_jax import builtin
from glober_jax.experiment import config
from glober_jax.models.networks import AUTOENCODER
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.training import autoencoder, generator
from glober_jax.training.packaged_model import write_packaged
from glober_jax.training.restore import (
    load_classes,
    load_config,
    load_feature_model,
    load_frame_model,
)

CARD = """# builtin:{name}

Class-conditional {size}x{size} videos of {frames} frames: {classes}. Made by `launch/{name}.sh`,
with the frame codec `{codec}`; {parameters:,} parameters in float16, and the codec's.

Trained on procedural skies (`glober_jax.prepare synthetic_sky`): {autoencoder} steps of encoder and
decoder, {generator} of the generator, {hours:.1f} hours on {device}.

By protocol `{protocol}`, of the packaged weights:

| | generated | reconstructed | real, of other real clips | these frozen | shuffled | blurred |
|---|---|---|---|---|---|---|
{rows}

    {command}

Weights: `{name}.safetensors`, {bytes:,} bytes, SHA-256 `{sha256}`. Licence: Apache-2.0, as the
package, which also draws the data.
"""
_MOTION = {"difference": "frame difference, of real", "flow_magnitude": "optical flow, of real"}


def score_rows(result: dict[str, Any]) -> str:
    """Scores with 95 % intervals, motion as a share of real motion, and coverage, as table rows."""
    again = result["reconstruction"]["kinds"]["reconstruction"]
    columns = [result, again, {"scores": result["floor"]}, *result["controls"].values()]
    rows = [
        [
            label,
            *(
                f"{score['value']:.1f} [{score['low']:.1f}, {score['high']:.1f}]"
                for score in (column["scores"][name] for column in columns)
            ),
        ]
        for name, label in (("fvd", "FVD"), ("kvd", "KVD"))
    ]
    rows += [
        [
            label,
            *(
                f"{100 * column['motion'][name]['share']:.0f} %" if "motion" in column else ""
                for column in columns
            ),
        ]
        for name, label in _MOTION.items()
    ]
    rows += [
        [name, f"{result['coverage'][name]:.2f}"] for name in ("precision", "recall", "coverage")
    ]
    rows.append(["PSNR, dB", "", f"{again['psnr_db']['value']:.2f}"])
    rows.append(["LPIPS", "", f"{again['lpips']['value']:.4f}"])
    empty = [""] * len(columns)
    return "\n".join(f"| {' | '.join((row + empty)[: len(columns) + 1])} |" for row in rows)


def package(workdir: Path, file: Path) -> None:
    """Writes the averaged parameters and scales of a workdir's newest checkpoints."""
    stored, mesh = load_config(workdir), make_mesh(MeshShape())
    networks = config.parse(stored).networks
    frame_step, frame_model = load_frame_model(networks, workdir, mesh)
    feature_step, feature_model = load_feature_model(networks, workdir, mesh)
    decoder = {name: frame_model.params[name] for name in AUTOENCODER}
    stages: dict[str, tuple[int, dict[str, Any]]] = {
        autoencoder.NAME: (
            frame_step,
            {"ema": decoder, "constants": {"latent_scale": frame_model.latent_scale}},
        ),
        generator.NAME: (
            feature_step,
            {
                "ema": feature_model.params,
                "constants": {"feature_scale": feature_model.feature_scale},
            },
        ),
    }
    write_packaged(file, stored, load_classes(workdir), stages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--result", type=Path)
    parser.add_argument("--device", default="two CPU cores")
    arguments = parser.parse_args()
    file = builtin.weights_file(arguments.name)
    if arguments.result is None:
        package(arguments.workdir, file)
        return
    stored, result = load_config(arguments.workdir), json.loads(arguments.result.read_text())
    networks = config.parse(stored).networks
    seconds = json.loads((arguments.workdir / "logs" / "seconds.json").read_text())
    counts = networks.count_parameters()
    card = CARD.format(
        name=arguments.name,
        size=networks.frame_size,
        frames=stored["clip"]["num_frames"],
        classes=", ".join(load_classes(arguments.workdir)),
        codec=stored["codec"]["pretrained"],
        parameters=sum(counts[name] for name in (*AUTOENCODER, *generator.NETWORKS)),
        hours=sum(seconds[stage] for stage in (autoencoder.NAME, generator.NAME)) / 3600,
        device=arguments.device,
        protocol=result["protocol"]["name"],
        rows=score_rows(result),
        # Where the result went is of no interest.
        command=re.sub(r" --output=\S+", "", result["command"]),
        bytes=file.stat().st_size,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        **result["model"]["checkpoint_steps"],
    )
    file.with_suffix(".md").write_text(card)


if __name__ == "__main__":
    main()
