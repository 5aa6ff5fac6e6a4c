"""The summary of a run: scores on held-out clips, samples and the report.

Dimension key: N clips, T frames, H, W frame size, C colours.
"""

import dataclasses
import json
import shlex
import sys
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from glober_jax import media
from glober_jax.errors import UserError
from glober_jax.evaluation import measuring, results, scoring
from glober_jax.evaluation.measuring import ClipSet
from glober_jax.evaluation.metrics import frame_quality
from glober_jax.evaluation.protocols import get_protocol
from glober_jax.evaluation.results import Result
from glober_jax.evaluation.tables import result_text
from glober_jax.experiment.pipeline import STAGES, Pipeline
from glober_jax.models import lpips
from glober_jax.reporting.curves import plot_curves
from glober_jax.reporting.model_evaluation import ModelEvaluation
from glober_jax.reporting.report.workdir_report import SUMMARY, write_workdir_report
from glober_jax.reporting.trained_clips import (
    TrainedModel,
    first_reconstructions,
    interpolate,
    load_trained,
    reconstructed_clips,
)
from glober_jax.sampling.folder import sheet_scale, write_samples, write_sheet
from glober_jax.training.metric_writer import METRICS_FILE
from glober_jax.versions import versions

_EVALUATED_CLIPS = 64
_TRAINING_CLIPS = 128
_SHOWN_CLIPS = 8
# I3D takes most of the time.
_SCORED = ("codec", "reconstruction")
# Labels of PSNR values, in the order of printing.
_PSNR_OF = {
    "reconstruction": "GLOBER: every frame decoded from the global feature",
    "codec": "frame codec alone: what the decoder could reach",
    "interpolated": "latents of key frames, linearly interpolated",
    "interpolated_key_frames": "pixels of key frames, linearly interpolated",
    "repeated_middle_frame": "middle key frame, repeated",
    "mean_image": "mean training image, repeated",
}


@dataclasses.dataclass(frozen=True)
class Summary:
    """Numbers for `summary.json`, and clips to show, uint8 [N, T, H, W, C].

    `evaluation` is the result of the config's protocol, or the reason why there is none;
    `reconstructed` are versions of the same clips, the real one first.
    """

    numbers: dict[str, Any]
    evaluation: Result | str
    record: dict[str, Any]
    reconstructed: dict[str, np.ndarray]
    generated: np.ndarray
    labels: list[str]
    fps: float


def measure(pipeline: Pipeline, mesh: Mesh) -> Summary:
    """Reconstructs held-out clips beside baselines, and generates new ones."""
    experiment, previews = pipeline.experiment, pipeline.previews
    model = load_trained(experiment, pipeline.workdir, experiment.sampling, mesh)
    steps = {"codec": experiment.codec.total_steps, **model.glober.trained_steps}
    evaluation, held_out = _evaluate(pipeline, model, mesh)
    quality = _qualities(pipeline, model, held_out, evaluation)
    conditions = previews.example_conditions(previews.held_out, _SHOWN_CLIPS)
    models = model.glober.frame_model, model.glober.feature_model
    generated = previews.generate(*models, conditions, experiment.seed)
    by_index = quality["reconstruction"]["psnr_db"]["by_index"]
    numbers = {
        "psnr_db": {name: round(q["psnr_db"]["of_clips"], 3) for name, q in quality.items()},
        "lpips": {
            name: round(q["lpips"]["value"], 4) for name, q in quality.items() if "lpips" in q
        },
        "psnr_by_index_db": [round(value, 3) for value in by_index],
        "held_out_clips": held_out.num_clips,
        "steps": {name: steps[name] for name in STAGES},
        "parameters": pipeline.networks.count_parameters(),
        "data": {"train": pipeline.data.train.fingerprint, "test": pipeline.data.test.fingerprint},
        "versions": versions(),
        "devices": [str(device.device_kind) for device in jax.devices()],
    }
    seed, sampling = experiment.seed, dataclasses.asdict(experiment.sampling)
    return Summary(
        numbers=numbers,
        evaluation=evaluation,
        record={"seed": seed, **conditions.record, "steps": steps, **sampling},
        reconstructed=first_reconstructions(model, held_out, experiment.clip, seed, _SHOWN_CLIPS),
        generated=generated,
        labels=conditions.names,
        fps=experiment.sampling.fps,
    )


def publish(
    summary: Summary, workdir: epath.Path, config: dict[str, Any], seconds: dict[str, float]
) -> None:
    """Writes `summary.json`, `samples/` and `report.html`, and prints the main numbers."""
    evaluation, rows = summary.evaluation, summary.reconstructed
    numbers = {"seconds": seconds, **summary.numbers}
    if isinstance(evaluation, str):
        numbers["evaluation"] = f"not measured: {evaluation}"
    else:
        numbers["evaluation"] = evaluation["scores"]
        numbers["reconstruction"] = evaluation["reconstruction"]
        results.write(workdir / results.FOLDER / results.file_name(evaluation), evaluation)
    media.write_file(workdir / SUMMARY, json.dumps(numbers, indent=2).encode())
    folder, labels = workdir / "samples", summary.labels
    write_samples(
        folder, summary.generated, summary.record, fps=summary.fps, row_labels=labels or None
    )
    write_sheet(folder / "real.png", rows["Real"])
    sheet = media.comparison_sheet(rows, scale=sheet_scale(rows["Real"]))
    media.write_png(folder / "reconstructed.png", sheet)
    plot_curves(workdir / "logs" / METRICS_FILE, folder / "curves.png")
    report = write_workdir_report(
        workdir,
        None if isinstance(evaluation, str) else evaluation,
        samples={"Generated": summary.generated, "Real": rows["Real"]},
        reconstruction=rows,
        config=config,
        fps=summary.fps,
        labels={"Generated": labels},
    )
    print(_text(numbers, workdir), file=sys.stderr)
    scores = f"No FVD: {evaluation}" if isinstance(evaluation, str) else result_text(evaluation)
    print(f"{scores}\nReport, to open in a browser: {report}", file=sys.stderr, flush=True)


def _text(numbers: dict[str, Any], workdir: epath.Path) -> str:
    psnr, lpips = numbers["psnr_db"], numbers["lpips"]
    also = " (and LPIPS)" if lpips else ""
    lines = [f"PSNR on {numbers['held_out_clips']} held-out clips{also}:"]
    for name, text in _PSNR_OF.items():
        distance = f" ({lpips[name]:.4f})" if lpips else ""
        lines.append(f"  {psnr[name]:6.2f} dB{distance}  {text}")
    seconds = ", ".join(f"{name} {value:.0f}" for name, value in numbers["seconds"].items())
    lines += [
        f"Seconds: {seconds}",
        f"Open {workdir}/samples: generated (sheet.png, grid.gif, video_*.mp4), reconstructed.png, "
        "real.png, curves.png",
        "Next:",
        f"  python -m glober_jax.sample --workdir={workdir} --output=more --num_videos=4 "
        "--num_frames=64 --seed=1",
        f"  tensorboard --logdir={workdir}/logs",
    ]
    return "\n".join(lines)


def _evaluate(pipeline: Pipeline, model: TrainedModel, mesh: Mesh) -> tuple[Result | str, ClipSet]:
    """The result of the config's protocol, or the reason why there is none; and held-out clips."""
    experiment, workdir = pipeline.experiment, pipeline.workdir
    reason = "config.evaluation.protocol is empty"
    if name := experiment.evaluation.protocol:
        several = jax.process_count() > 1
        measures = None if several else workdir / results.FOLDER / "measures"
        command = "python -m glober_jax.main " + shlex.join(sys.argv[1:])
        seed, data = experiment.seed, experiment.data.dir
        try:
            evaluation = ModelEvaluation(experiment, get_protocol(name), data, mesh, measures)
            real = evaluation.test_clips(_EVALUATED_CLIPS)
            found = evaluation.reconstruction(model, seed, real, _SCORED)
            return evaluation.result(model, seed, reconstruction=found, command=command), real
        except UserError as error:
            reason = str(error)
    frames = pipeline.data.clips("test", _EVALUATED_CLIPS)["frames"]
    return reason, ClipSet("real", {}, len(frames), lambda first, count: frames[first:][:count])


def _qualities(
    pipeline: Pipeline, model: TrainedModel, held_out: ClipSet, evaluation: Result | str
) -> dict[str, Any]:
    """`scoring.quality` of the model's reconstructions, and of baselines without a model.

    Without an evaluation only metrics of installed packages are measured.
    """
    clip, size = pipeline.experiment.clip, pipeline.networks.frame_size
    metrics = ["psnr", "lpips"] if lpips.available("alex", size) else ["psnr"]
    measures = frame_quality.frame_measures(metrics)
    if isinstance(evaluation, str):
        extractor = measuring.paired_quality(measures, measuring.combined())
        pairs = reconstructed_clips(model, held_out, clip, pipeline.experiment.seed)
        measured = {kind: measuring.measure(made, extractor, None) for kind, made in pairs.items()}
        found = {kind: scoring.quality(values) for kind, values in measured.items()}
    else:
        found = evaluation["reconstruction"]["kinds"]
    real = held_out.read(0, held_out.num_clips)
    keys, shape = real[:, clip.key_positions], real.shape
    training = pipeline.data.clips("train", _TRAINING_CLIPS)["frames"]
    baselines = {
        # One at a time: the interpolation is float32.
        "interpolated_key_frames": (
            interpolate(one[None], clip.key_positions, clip.num_frames)[0] for one in keys
        ),
        "repeated_middle_frame": np.broadcast_to(keys[:, keys.shape[1] // 2, None], shape),
        "mean_image": np.broadcast_to(training.mean((0, 1)).round().astype(np.uint8), shape),
    }
    return found | {
        name: scoring.quality(frame_quality.measure_clips(measures, made, real))
        for name, made in baselines.items()
    }
