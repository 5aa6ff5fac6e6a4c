r"""Measures how fast parts of training, sampling and evaluation run on this machine.

    python -m glober_jax.benchmark step --config=configs/skytimelapse.py \
        [--programs=autoencoder,joint,generator --seconds=10 --output=FILE.json]
    python -m glober_jax.benchmark step --reduced
    python -m glober_jax.benchmark sampling --config=configs/skytimelapse.py \
        [--seconds=10 --num_videos=1 --num_frames=16 --output=FILE.json]
    python -m glober_jax.benchmark parity --config=configs/skytimelapse.py \
        [--batch_size=16 --output=FILE.json]
    python -m glober_jax.benchmark data --config=configs/skytimelapse.py \
        [--config.data.dir=DIR --seconds=10 --batch_size=16 --videos=256 --output=FILE.json]
    python -m glober_jax.benchmark evaluation --config=configs/skytimelapse.py \
        [--seconds=10 --batch_size=16 --output=FILE.json]

`step` measures training steps on random batches: of the autoencoder, of the autoencoder with its
adversary (joint), of the generator. --reduced takes the configuration in which the authors' release
was measured, adds three parts of the decoder, and shows the recorded figures of the release.

`sampling` measures the programs that make --num_videos videos of --num_frames frames, with the
config's sampler.

Both report the time to compile and to run, memory, and operations, beside the fewest possible and
a matrix product in the same run.

`parity` compares every network's outputs in bfloat16 and float32, on --batch_size random rows. The
exit status is 1 where they differ by more than rounding.

`data` measures the loader's batches of clips, beside decoding all their frames, JPEG decoding alone
and, with requirements-tensorflow.txt installed, a plain tf.data pipeline over the same videos.

`evaluation` measures I3D's logits of random clips, beside the network alone (needs
requirements-eval.txt). Each device takes --batch_size clips at a time.

--workdir=DIR in place of --config takes the config that a workdir was trained with. Figures are
printed in Markdown, as in BENCHMARKS.md; --output has all of them as JSON.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags
from ml_collections import config_flags

from glober_jax import cli, media
from glober_jax.benchmarking import data, evaluation, parity, published, sampling, step
from glober_jax.benchmarking.report import section
from glober_jax.errors import UserError
from glober_jax.experiment import config
from glober_jax.experiment.options import Experiment
from glober_jax.training.restore import load_config

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, e.g. configs/quickstart.py")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A workdir whose config is used instead of --config"
)
_REDUCED = flags.DEFINE_boolean("reduced", False, "The release's reduced configuration, for step")
_PROGRAMS = flags.DEFINE_list("programs", None, "Programs that step measures; all by default")
_SECONDS = flags.DEFINE_float("seconds", 10.0, "How long to measure each contender", 0.0)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Clips in a batch", 1)
_VIDEOS = flags.DEFINE_integer("videos", 256, "Videos to use, the first ones; they are copied", 1)
_NUM_VIDEOS = flags.DEFINE_integer("num_videos", 1, "Videos to sample", 1)
_NUM_FRAMES = flags.DEFINE_integer("num_frames", 16, "Frames of each of these videos", 1)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write the figures to")

_MEASURE = {
    "step": step,
    "sampling": sampling,
    "parity": parity,
    "data": data,
    "evaluation": evaluation,
}


def main(argv: Sequence[str]) -> None:
    command = cli.one_of(_MEASURE, argv, "measure")
    output = Path(_OUTPUT.value) if _OUTPUT.value else None
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise UserError(f"--output={output}: name a file, in a folder that exists")
    if command in ("step", "sampling"):
        # A program from the persistent cache would take no time to compile.
        jax.config.update("jax_enable_compilation_cache", False)
    seconds, clips = _SECONDS.value, _BATCH_SIZE.value
    options = {
        "step": {"names": _PROGRAMS.value, "reduced": _REDUCED.value, "seconds": seconds},
        "sampling": {
            "num_videos": _NUM_VIDEOS.value,
            "num_frames": _NUM_FRAMES.value,
            "seconds": seconds,
        },
        "parity": {"rows": clips},
        "data": {"batch_size": clips, "max_videos": _VIDEOS.value, "seconds": seconds},
        "evaluation": {"clips_per_device": clips, "seconds": seconds},
    }
    measure = _MEASURE[command]
    report = measure.benchmark(_experiment(command), **options[command])
    report["command"] = cli.command_line("benchmark")
    print(section(report, measure.table(report)))
    if output is not None:
        media.write_file(output, f"{json.dumps(report, indent=2)}\n".encode())
    sys.exit(0 if report.get("agrees", True) else 1)


def _experiment(command: str) -> Experiment:
    if _REDUCED.value:
        if command != "step" or _CONFIG.value or _WORKDIR.value:
            raise UserError("--reduced is a configuration of its own, for step without --config")
        return published.reduced_experiment()
    if (_CONFIG.value is None) == (_WORKDIR.value is None):
        raise UserError("give --config=FILE or --workdir=DIR, but not both")
    source = load_config(_WORKDIR.value) if _WORKDIR.value else cli.config_value(_CONFIG)
    return config.parse(source)


if __name__ == "__main__":
    cli.run(main)
