"""Frame by frame quality: SSIM by its definition, and what the three metrics have in common."""

import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from glober_jax.errors import UserError
from glober_jax.evaluation.metrics.frame_quality import (
    frame_measures,
    measure_clips,
    metrics_of,
    pooled_psnr,
    psnr,
    summarise,
)
from tests.evaluation import corruptions


def ssim_by_definition(a_HWC: np.ndarray, b_HWC: np.ndarray) -> float:
    """Wang et al. 2004 in float64, over windows that lie inside the frame."""

    def local_mean(x_HWC: np.ndarray) -> np.ndarray:
        # Five pixels to either side of the middle one.
        blurred = gaussian_filter(x_HWC, (1.5, 1.5, 0), radius=(5, 5, 0), mode="constant")
        return blurred[5:-5, 5:-5]

    a, b = a_HWC / 255.0, b_HWC / 255.0
    mean_a, mean_b = local_mean(a), local_mean(b)
    variance_a, variance_b = local_mean(a * a) - mean_a**2, local_mean(b * b) - mean_b**2
    covariance = local_mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return float((luminance * structure).mean())


def test_ssim_is_that_of_the_definition() -> None:
    """Fails with another window, another range, or a border that counts (broken: deviation 1.6)."""
    real = corruptions.sky_clips(range(4), num_frames=2)
    measure = frame_measures(["ssim"])["ssim"]
    for made in (real, corruptions.noise(real, 12), corruptions.blur(real, 1.5), 255 - real):
        for made_THWC, real_THWC in zip(made, real, strict=True):
            expected = [ssim_by_definition(a, b) for a, b in zip(made_THWC, real_THWC, strict=True)]
            np.testing.assert_allclose(measure(made_THWC, real_THWC), expected, atol=2e-5)


def test_metrics_rank_damage_and_know_its_place() -> None:
    """Fails when a metric does not get worse with noise and blur, or is off by a frame."""
    real = corruptions.sky_clips(range(3), num_frames=4)
    assert (metrics_of(10), metrics_of(30)) == (["psnr"], ["psnr", "ssim"])
    measures = frame_measures(metrics_of(32))
    assert tuple(measures) == ("psnr", "ssim", "lpips")
    damaged = [real, corruptions.noise(real, 4), corruptions.noise(real, 16)]
    blurred = [real, corruptions.blur(real, 0.7), corruptions.blur(real, 2)]
    for made in (damaged, blurred):
        scores = [measure_clips(measures, clips, real) for clips in made]
        for name, worse in (("psnr", -1), ("ssim", -1), ("lpips", 1)):
            values = [worse * summarise(score[name])["value"] for score in scores]
            assert values == sorted(values) and values[2] - values[0] > 0.01, (name, values)
    equal = measure_clips(measures, real, real)
    assert np.ptp(equal["psnr"]) == 0 and 50 < equal["psnr"][0, 0] < 60
    np.testing.assert_allclose(equal["ssim"], 1, atol=1e-6)
    np.testing.assert_allclose(equal["lpips"], 0, atol=1e-9)

    one_frame = real.copy()
    one_frame[1, 2] = damaged[2][1, 2]
    for name, values in measure_clips(measures, one_frame, real).items():
        assert values.dtype == np.float64
        assert np.argwhere(np.abs(values - equal[name]) > 1e-3).tolist() == [[1, 2]], name


def test_summary_has_the_spread_over_clips() -> None:
    """Fails when frames count as independent, or places are mixed up."""
    summary = summarise(np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0], [2.0, 3.0, 7.0]]))
    assert summary["by_index"] == [2.0, 3.0, 5.0]
    assert summary["value"] == pytest.approx(10 / 3)
    assert summary["standard_error"] == pytest.approx(np.std([2, 4, 4], ddof=1) / 3**0.5)
    assert summarise(np.ones((1, 4)))["standard_error"] is None
    made, real = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 5, 3), np.uint8)
    errors = np.square(made.astype(float) - real).mean(axis=(1, 2, 3, 4))
    np.testing.assert_allclose(pooled_psnr(psnr(made, real)), 10 * np.log10(255**2 / errors))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dm_pix", None)
    with pytest.raises(UserError, match=r"install -r requirements-eval\.txt"):
        frame_measures(["ssim"])
