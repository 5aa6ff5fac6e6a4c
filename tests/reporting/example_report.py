"""A report of a run that never was, on real skies: to look at, and for the tests.

python -m tests.reporting.example_report report.html
"""

import sys
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from glober_jax.data.datasets.sky_scene import CLASS_NAMES
from glober_jax.reporting.report.workdir_report import Report, write_report
from tests.evaluation.corruptions import sky_clips

_NUM_FRAMES = 16


def example_report(size: int = 64, num_clips: int = 8) -> Report:
    """Every section, with `num_clips` clips of each kind."""
    real = sky_clips(range(num_clips), size=size)
    generated = _blurred(sky_clips(range(1000, 1000 + num_clips), size=size), size / 64)
    labels = [CLASS_NAMES[number % len(CLASS_NAMES)] for number in range(num_clips)]
    sampling = ((20, 2.0), (5, 2.0), (10, 2.0), (50, 2.0), (20, 1.0), (20, 4.0))
    return Report(
        title="Synthetic sky, 64x64, 16 frames",
        results=[_result(steps, scale) for steps, scale in sampling],
        samples={"Generated": generated, "Real": real},
        labels={"Generated": labels, "Real": labels},
        reconstruction={
            "Real": real[:3],
            "Codec": _blurred(real[:3], size / 160),
            "GLOBER": _blurred(real[:3], size / 64),
        },
        metrics=_metrics(),
        config={"frame_size": size, "clip": {"num_frames": _NUM_FRAMES}, "seed": 0},
        fps=8.0,
    )


def _blurred(videos_NTHWC: np.ndarray, radius: float) -> np.ndarray:
    return gaussian_filter(videos_NTHWC, (0, 0, radius, radius, 0))


def _score(value: float, width: float) -> dict[str, Any]:
    bounds = {"value": value, "low": value - width, "high": value + 1.2 * width}
    return bounds | {"confidence": 0.95, "num_real": 256, "num_generated": 256}


def _moved(generated: float, real: float, distance: float) -> dict[str, Any]:
    return {"generated": generated, "real": real, "distance": distance}


def _result(steps: int, scale: float) -> dict[str, Any]:
    worse = 130 / steps + 9 * (scale - 2.2) ** 2
    sag = np.sin(np.pi * np.arange(_NUM_FRAMES) / 5) ** 2
    return {
        "protocol": {"name": "styleganv_16f", "num_frames": _NUM_FRAMES, "covariance": "biased"},
        "scores": {
            "fvd": _score(86.4 + worse, 6.1),
            "kvd": _score(4.31 + worse / 14, 0.6),
            "fd_alex": _score(38.2 + worse / 4, 2.4),
        },
        "floor": {"fvd": _score(35.9, 2), "kvd": _score(-0.07, 0.4), "fd_alex": _score(12.6, 0.8)},
        "motion": {
            "difference": _moved(0.0131, 0.0142, 0.0013) | {"share": 0.9225, "floor": 0.0004},
            "flow_magnitude": _moved(0.34, 0.41, 0.1) | {"share": 0.829},
            "roughness": _moved(1.31, 1.25, 0.08),
            "flicker": _moved(0.0027, 0.0021, 0.0007),
            "frozen": _moved(0.0, 0.0, 0.0),
            "warping_error": _moved(0.0069, 0.0087, 0.0021),
        },
        "controls": {
            name: {
                "scores": {
                    n: _score(fvd / d, 2) for n, d in (("fvd", 1), ("kvd", 9), ("fd_alex", 3))
                },
                "motion": {"difference": _moved(0.0142 * share, 0.0142, 0.003) | {"share": share}},
            }
            for name, fvd, share in (("frozen", 322.4, 0.0), ("shuffled", 161.7, 1.9))
        },
        "coverage": {"coverage": 0.61, "nearest_training_clips": [{"distance": 1.0}]},
        "reconstruction": {
            "num_clips": 256,
            "kinds": {
                "codec": _reconstruction(sag / 8, 34.2, 12.3, 0.99),
                "reconstruction": _reconstruction(sag, 27.6, 61.7, 0.87),
            },
        },
        "model": {
            "workdir": "runs/sky",
            "checkpoint_steps": {"codec": 4000, "autoencoder": 20000, "generator": 60000},
            "sampling": {"sampler": "ddim", "steps": steps, "condition_scale": scale},
            "seed": 0,
        },
        "data": {
            "real": {"source": "data/synthetic_sky (test)", "fingerprint": "4f1d7c20a9be6635"},
            "generated": {"source": "runs/sky, sampled", "fingerprint": "b20c99e1d47a5f08"},
        },
        "notes": [
            "real videos: Frames are stored as JPEG or WebP: what that compression did to them is "
            "measured too."
        ],
        "versions": {"glober_jax": "0.1.0", "jax": "0.10.2", "flax": "0.12.8", "numpy": "2.4.6"},
        "devices": ["TPU v5e (8)"],
        "command": f"python -m glober_jax.evaluate --workdir=runs/sky --steps={steps}",
        "seconds": 431.2,
    }


def _reconstruction(sag: np.ndarray, psnr: float, fvd: float, share: float) -> dict[str, Any]:
    by_index = {"psnr_db": psnr - 2.4 * sag, "ssim": 0.871 - 0.05 * sag, "lpips": 0.09 + sag / 50}
    moved = _moved(0.0142 * share, 0.0142, 0.002) | {"share": share}
    return {
        **{name: {"value": v.mean(), "by_index": v.tolist()} for name, v in by_index.items()},
        "scores": {"fvd": _score(fvd, 4.0)},
        "motion": {"difference": moved},
    }


def _metrics() -> list[dict[str, Any]]:
    """Rows as a run logs them, of two stages."""
    rows: list[dict[str, Any]] = []
    for number, noise in enumerate(np.random.default_rng(0).normal(size=(400, 4)), 1):
        step, fall = 50 * number, np.exp(-number / 80)
        values = {
            "loss": 0.05 + 0.9 * fall * np.exp(0.15 * noise[0]),
            "kl": 900 * (1 - fall) + 20 * noise[2],
            "psnr_db": 26.5 - 12 * fall + 0.3 * noise[3],
            "grad_norm": 0.4 + 3 * fall * np.exp(0.3 * noise[2]),
        }
        rows.append({"stage": "autoencoder", "step": step, "time": float(step), **values})
        loss = 0.12 + fall * np.exp(0.2 * noise[3])
        rows.append({"stage": "generator", "step": 3 * step, "time": float(step), "loss": loss})
    return rows


if __name__ == "__main__":
    write_report(sys.argv[1], example_report())
