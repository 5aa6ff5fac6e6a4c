"""The end of a run: how good it is on held-out clips, and a folder a person opens.

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
from glober_jax.data.clips import ClipSpec
from glober_jax.errors import UserError
from glober_jax.evaluation import frame_quality, reconstruction, results, scoring
from glober_jax.evaluation.protocols import get_protocol
from glober_jax.evaluation.results import Result
from glober_jax.reporting.curves import plot_curves
from glober_jax.reporting.model_evaluation import ModelEvaluation
from glober_jax.reporting.report.clips import Clips
from glober_jax.reporting.trained_clips import TrainedModel, load_trained
from glober_jax.reporting.workdir_report import write_workdir_report
from glober_jax.sampling.write import sheet_scale, write_samples, write_sheet
from glober_jax.training.metrics import METRICS_FILE
from glober_jax.training.pipeline import STAGES, Pipeline
from glober_jax.versions import versions

_EVALUATED_CLIPS = 32
_SHOWN_CLIPS = 8


@dataclasses.dataclass(frozen=True)
class Summary:
    """Numbers for `summary.json`, and the clips that the folder shows, uint8 [N, T, H, W, C].

    `evaluation` is the result by the config's protocol, or the reason why there is none.
    """

    numbers: dict[str, Any]
    evaluation: Result | str
    record: dict[str, Any]
    real: np.ndarray
    codec: np.ndarray
    reconstructed: np.ndarray
    generated: np.ndarray
    labels: list[str]
    fps: float


def measure(pipeline: Pipeline, mesh: Mesh) -> Summary:
    """Reconstructs held-out clips beside baselines, and generates new ones."""
    experiment, networks = pipeline.experiment, pipeline.networks
    model = load_trained(experiment, pipeline.workdir, experiment.sampling, mesh)
    frame_model, feature_model = model.glober.frame_model, model.glober.feature_model
    steps = {"codec": experiment.codec.steps, **model.glober.trained_steps}

    clips = pipeline.data.clips("test", _EVALUATED_CLIPS)
    real = clips["frames"]
    train_frames = pipeline.data.clips("train", 4 * _EVALUATED_CLIPS)["frames"]
    made = {
        "reconstruction": pipeline.reconstruct(frame_model, clips),
        "codec": pipeline.codec_reconstruct(
            {"frame_codec": frame_model.params["frame_codec"]}, real
        ),
    } | _baselines(experiment.clip, clips, train_frames.mean(axis=(0, 1)))
    scores = {name: pipeline.scores(frames, real) for name, frames in made.items()}
    conditions = pipeline.example_conditions(clips, _SHOWN_CLIPS)
    generated = pipeline.generate(frame_model, feature_model, conditions, experiment.seed)
    numbers = {
        "psnr_db": {name: round(score["psnr"], 3) for name, score in scores.items()},
        "lpips": {
            name: round(score["lpips"], 4) for name, score in scores.items() if "lpips" in score
        },
        "psnr_by_index_db": [
            round(float(value), 3)
            for value in reconstruction.frame_psnr(made["reconstruction"], real)
        ],
        "held_out_clips": len(real),
        "steps": {name: steps[name] for name in STAGES},
        "parameters": networks.count_parameters(),
        "data": {"train": pipeline.data.train.fingerprint, "test": pipeline.data.test.fingerprint},
        "versions": versions(),
        "devices": [str(device.device_kind) for device in jax.devices()],
    }
    sampling = dataclasses.asdict(experiment.sampling)
    return Summary(
        numbers=numbers,
        evaluation=_evaluate(pipeline, model, made["reconstruction"], real, mesh),
        record={"seed": experiment.seed, **conditions.record, "steps": steps, **sampling},
        real=real[:_SHOWN_CLIPS],
        codec=made["codec"][:_SHOWN_CLIPS],
        reconstructed=made["reconstruction"][:_SHOWN_CLIPS],
        generated=generated,
        labels=conditions.names,
        fps=experiment.sampling.fps,
    )


def publish(
    summary: Summary, workdir: epath.Path, config: dict[str, Any], seconds: dict[str, float]
) -> None:
    """Writes `summary.json`, `samples/` and `report.html`, and prints the short version."""
    evaluation = summary.evaluation
    measured = not isinstance(evaluation, str)
    numbers = {
        "seconds": seconds,
        **summary.numbers,
        "evaluation": evaluation["scores"] if measured else f"not measured: {evaluation}",
    }
    media.write_file(workdir / "summary.json", json.dumps(numbers, indent=2).encode())
    folder = workdir / "samples"
    write_samples(
        folder,
        summary.generated,
        summary.record,
        fps=summary.fps,
        row_labels=summary.labels or None,
    )
    write_sheet(folder / "real.png", summary.real)
    rows = {"Real": summary.real, "Codec": summary.codec, "GLOBER": summary.reconstructed}
    sheet = media.comparison_sheet(rows, scale=sheet_scale(summary.real))
    media.write_png(folder / "reconstructed.png", sheet)
    plot_curves(workdir / "logs" / METRICS_FILE, folder / "curves.png")
    if measured:
        results.write(workdir / results.FOLDER / results.file_name(evaluation), evaluation)
    clips = {"Generated": Clips(summary.generated, summary.labels), "Real": Clips(summary.real)}
    report = write_workdir_report(
        workdir, evaluation if measured else None, clips, rows, config, summary.fps
    )
    print(_text(numbers, workdir), file=sys.stderr)
    print(_evaluation_text(evaluation, report), file=sys.stderr, flush=True)


_EXPLANATIONS = {
    "reconstruction": "GLOBER: every frame decoded from the global feature",
    "codec": "frame codec alone: what the decoder could reach",
    "interpolated_key_frames": "key frames, linearly interpolated",
    "repeated_middle_frame": "middle key frame, repeated",
    "mean_image": "mean training image, repeated",
}


def _text(numbers: dict[str, Any], workdir: epath.Path) -> str:
    psnr, lpips = numbers["psnr_db"], numbers["lpips"]
    also = " (and LPIPS)" if lpips else ""
    lines = [f"PSNR on {numbers['held_out_clips']} held-out clips{also}:"]
    for name, text in _EXPLANATIONS.items():
        distance = f" ({lpips[name]:.4f})" if lpips else ""
        lines.append(f"  {psnr[name]:6.2f} dB{distance}  {text}")
    lines += [
        "Seconds: "
        + ", ".join(f"{name} {value:.0f}" for name, value in numbers["seconds"].items()),
        f"Open {workdir}/samples: generated (sheet.png, grid.gif, video_*.mp4), reconstructed.png, "
        "real.png, curves.png",
        "Next:",
        f"  python -m glober_jax.sample --workdir={workdir} --output=more --num_videos=4 "
        "--num_frames=64 --seed=1",
        f"  tensorboard --logdir={workdir}/logs",
    ]
    return "\n".join(lines)


def _evaluate(
    pipeline: Pipeline, model: TrainedModel, made: np.ndarray, real: np.ndarray, mesh: Mesh
) -> Result | str:
    """The result by the config's protocol, or why there is none: the run has been trained."""
    experiment, workdir = pipeline.experiment, pipeline.workdir
    name = experiment.evaluation.protocol
    if not name:
        return "config.evaluation.protocol is empty"
    several = jax.process_count() > 1
    measures = None if several else workdir / results.FOLDER / "measures"
    try:
        evaluation = ModelEvaluation(
            experiment, get_protocol(name), experiment.data.dir, mesh, measures
        )
        size = experiment.networks.frame_size
        frames = frame_quality.frame_measures(size, frame_quality.metrics_of(size))
        quality = scoring.quality(frame_quality.measure_clips(frames, made, real))
        command = "python -m glober_jax.main " + shlex.join(sys.argv[1:])
        return evaluation.result(model, experiment.seed, reconstruction=quality, command=command)
    except UserError as error:
        return str(error)


def _evaluation_text(evaluation: Result | str, report: epath.Path) -> str:
    if isinstance(evaluation, str):
        return f"No FVD: {evaluation}\nReport: {report}"
    return f"{results.for_people(evaluation)}\nReport, to open in a browser: {report}"


def _baselines(
    clip: ClipSpec, clips: dict[str, Any], mean_image: np.ndarray
) -> dict[str, np.ndarray]:
    """What no model is needed for, from the same key frames."""
    real, keys = clips["frames"], clips["key_frames"]
    return {
        "interpolated_key_frames": reconstruction.interpolate(
            keys, clip.key_positions, clip.num_frames
        ),
        "repeated_middle_frame": reconstruction.repeat_middle(keys, clip.num_frames),
        "mean_image": reconstruction.repeat_image(mean_image, real),
    }
