r"""Scores a trained workdir, or any videos against real ones, by a named protocol.

    python -m glober_jax.evaluate --workdir=runs/sky --protocol=styleganv_16f --reconstruction
    python -m glober_jax.evaluate --workdir=runs/sky --steps=10,20,50 --guidance_condition=1,2,4
    python -m glober_jax.evaluate --workdir=runs/every_second --between=data/all_frames
    python -m glober_jax.evaluate --real=real.npy --generated=samples/frames.npz --output=score.json
    python -m glober_jax.evaluate --compare=a.json --compare=b.json
    python -m glober_jax.evaluate --protocols

Needs the packages of requirements-eval.txt. Measures of clips are cached, so that an interrupted
evaluation resumes and real clips are measured once for all models. Of several values of --steps or
of a scale every combination is evaluated, with a result each.
"""

import itertools
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags
from etils import epath

from glober_jax import cli, media
from glober_jax.errors import UserError
from glober_jax.evaluation import measuring, results
from glober_jax.evaluation.evaluating import evaluate_videos, fitted_to_pair
from glober_jax.evaluation.protocols import SMALL, Protocol, get_protocol, shortfall, table
from glober_jax.evaluation.tables import compare, result_text
from glober_jax.evaluation.video_io import open_video_set
from glober_jax.evaluation.video_set import check_pair
from glober_jax.experiment import config
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.reporting import in_between
from glober_jax.reporting.model_evaluation import ModelEvaluation
from glober_jax.reporting.report.workdir_report import write_workdir_report
from glober_jax.reporting.trained_clips import first_reconstructions, load_trained
from glober_jax.training.packaged_model import results_folder
from glober_jax.training.restore import load_config
from glober_jax.values import check_seed

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A workdir that glober_jax.main trained, or a packaged model: builtin:sky64"
)
_DATA = flags.DEFINE_string("data", None, "Prepared data set; the workdir's config's by default")
_REAL = flags.DEFINE_string("real", None, "Real videos: a folder, a .npy or .npz, a prepared set")
_GENERATED = flags.DEFINE_string("generated", None, "Videos to score: a folder, a .npy or .npz")
_PROTOCOL = flags.DEFINE_string(
    "protocol", SMALL, "A protocol; NAME@64 takes 64 clips, NAME-12f clips of 12 frames"
)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file; WORKDIR/evaluations/... by default")
_CACHE = flags.DEFINE_string(
    "cache", None, "Folder of cached measures; beside the results by default"
)
_RECONSTRUCTION = flags.DEFINE_boolean(
    "reconstruction", False, "Also measure reconstructions of test clips by each part of the model"
)
_CONTROLS = flags.DEFINE_boolean(
    "controls", False, "Also score real clips frozen, shuffled and blurred, for a scale"
)
_BETWEEN = flags.DEFINE_string(
    "between", None, "Data set with the frames between those of the training data"
)
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint", "newest", ["newest", "best"], "Of the generator; best is by FVD"
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the generated videos")
_COMPARE = flags.DEFINE_multi_string("compare", [], "A result to compare with others; repeat it")
_PROTOCOLS = flags.DEFINE_boolean("protocols", False, "Print all protocols, as Markdown")
_SHOWN_CLIPS = 8
# Threads of XLA on a CPU, equal for up to as many virtual devices.
_CPU_THREADS = 8
# By field of the sampling options, the type of its values and the flag.
_SAMPLING = {
    "sampler": (str, flags.DEFINE_list("sampler", [], "ddim or dpm++; the config's by default")),
    "spacing": (
        str,
        flags.DEFINE_list("spacing", [], "Placement of the steps; the sampler's by default"),
    ),
    "steps": (int, flags.DEFINE_list("steps", [], "Sampling steps; the config's by default")),
    **{
        f"{name}_scale": (
            float,
            flags.DEFINE_list(f"guidance_{name}", [], "Guidance scale; the config's by default"),
        )
        for name in ("condition", "video", "domain")
    },
}


def main(argv: Sequence[str]) -> None:
    """Runs the command with its positional arguments."""
    cli.no_arguments(argv)
    # Read when XLA starts. On CPUs the order of a convolution's sums, and so the seventh digit of
    # an FVD, depends on the number of threads, which depends on the number of devices.
    os.environ.setdefault("NPROC", str(max(_CPU_THREADS, os.cpu_count() or 1)))
    check_seed(_SEED.value, "--seed")
    if _PROTOCOLS.value:
        print(table())
    elif _COMPARE.value:
        print(compare({path: results.read(path) for path in _COMPARE.value}))
    elif _WORKDIR.value and not (_REAL.value or _GENERATED.value):
        _evaluate_workdir(epath.Path(_WORKDIR.value), get_protocol(_PROTOCOL.value))
    elif _REAL.value and _GENERATED.value and not _WORKDIR.value:
        _evaluate_two_sets(_REAL.value, _GENERATED.value, get_protocol(_PROTOCOL.value))
    else:
        raise UserError(
            "give --workdir=DIR alone, or --real=PATH and --generated=PATH (see --help)"
        )


def _evaluate_workdir(workdir: epath.Path, protocol: Protocol) -> None:
    """One result for every choice of sampling, and the workdir's report."""
    experiment = config.parse(load_config(workdir))
    choices = [config.sampling_options(experiment, choice) for choice in _choices()]
    if _OUTPUT.value and len(choices) > 1:
        raise UserError("--output names one result; leave it out to try several ways of sampling")
    if _OUTPUT.value:
        media.check_output(epath.Path(_OUTPUT.value))
    mesh, seed = make_mesh(experiment.mesh), _SEED.value
    folder = results_folder(workdir) / results.FOLDER
    measures = _CACHE.value or folder / "measures"
    command = cli.command_line("evaluate")
    models = (
        load_trained(experiment, workdir, options, mesh, _CHECKPOINT.value) for options in choices
    )
    if _BETWEEN.value:
        if _DATA.value or _RECONSTRUCTION.value or _CONTROLS.value:
            raise UserError("--between has no use for --data, --reconstruction or --controls")
        for model in models:
            record = in_between.evaluate_in_between(
                experiment, model, protocol, _BETWEEN.value, measures, seed, command
            )
            # In a folder of its own: the report and --compare read the results.
            output = _OUTPUT.value or folder / "in_between" / results.file_name(record)
            results.write(output, record)
            print(in_between.groups_text(record["frames"]))
            print(f"{record['num_clips']} clips; result: {output}")
        return
    data = _DATA.value or experiment.data.dir
    evaluation = ModelEvaluation(experiment, protocol, data, mesh, measures)
    real = evaluation.test_clips() if _RECONSTRUCTION.value else None
    for model in models:
        again = real and evaluation.reconstruction(model, seed, real)
        result = evaluation.result(
            model,
            seed,
            reconstruction=again,
            command=command,
            with_controls=_CONTROLS.value,
        )
        output = _OUTPUT.value or folder / results.file_name(result)
        results.write(output, result)
        _print_result(result, output)
    again = real and first_reconstructions(model, real, experiment.clip, seed, _SHOWN_CLIPS)
    path = write_workdir_report(
        workdir,
        result,
        samples=evaluation.samples(model, seed, _SHOWN_CLIPS),
        reconstruction=again or {},
        config=experiment.source,
        fps=experiment.sampling.fps,
    )
    print(f"report: {path}")


def _evaluate_two_sets(real_path: str, generated_path: str, protocol: Protocol) -> None:
    if _OUTPUT.value is None:
        raise UserError("say where the result goes: --output=FILE.json")
    output = epath.Path(_OUTPUT.value)
    media.check_output(output)
    start = time.monotonic()
    real, generated = (open_video_set(path, protocol.split) for path in (real_path, generated_path))
    notes = check_pair(real, generated, protocol)
    protocol = fitted_to_pair(protocol, real, generated)
    mesh = make_mesh(MeshShape())
    extractor = measuring.combined(
        measuring.i3d_logits(mesh, protocol.resize),
        measuring.frame_features(mesh),
        measuring.motion_measures(),
    )
    folder = _CACHE.value or output.parent / "measures"
    found = evaluate_videos(
        protocol, real, generated, extractor, folder, with_controls=_CONTROLS.value
    )
    notes += shortfall(protocol, len(found.real["logits"]), len(found.generated["logits"]))
    result = results.build(
        protocol,
        **found.sections,
        model={},
        data={
            name: {"source": videos.source, "fingerprint": videos.fingerprint}
            for name, videos in (("real", real), ("generated", generated))
        },
        notes=notes,
        command=cli.command_line("evaluate"),
        seconds=time.monotonic() - start,
    )
    results.write(output, result)
    _print_result(result, output)


def _choices() -> Iterator[dict[str, Any]]:
    """Every combination of the sampling flags' values."""
    given = {
        name: cli.list_of(kind, flag) for name, (kind, flag) in _SAMPLING.items() if flag.value
    }
    for values in itertools.product(*given.values()):
        yield dict(zip(given, values, strict=True))


def _print_result(result: Mapping[str, Any], output: Any) -> None:
    for note in result["notes"]:
        print(f"note: {note}", file=sys.stderr)
    print(result_text(result))
    print(f"result: {output}")


if __name__ == "__main__":
    cli.run(main)
