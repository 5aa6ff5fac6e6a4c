"""PRDC and memorisation: planted copies are found, and numbers are those of the definitions."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from glober_jax.errors import UserError
from glober_jax.evaluation.metrics.prdc import memorisation, prdc


def points(seed: int, count: int, mean: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return mean + scale * np.random.default_rng(seed).standard_normal((count, 12))


def test_planted_copies_are_found() -> None:
    """Fails when copies are not named, or new clips are taken for copies."""
    training, held_out, generated = points(0, 300), points(1, 200), points(2, 200)
    names = [f"t{i}" for i in range(300)]
    new = memorisation(generated, held_out, training, names)
    assert new["memorisation_ratio"] == pytest.approx(1, abs=0.1) and new["memorised"] < 0.12, new

    copied = {7: 250, 120: 3, 199: 299}
    for made, source in copied.items():
        generated[made] = training[source] + 0.01 * made / 200
    some = memorisation(generated, held_out, training, names)
    pairs = some["nearest_training_clips"]
    assert [(pair["generated"], pair["training"]) for pair in pairs[:3]] == [
        (f"generated {made}", f"t{source}") for made, source in copied.items()
    ]
    assert pairs[2]["distance"] < 0.05 < 0.5 < pairs[3]["distance"]
    assert new["memorised"] < some["memorised"] <= new["memorised"] + 3 / 200

    all_copied = memorisation(training[:200], held_out, training, names)
    assert all_copied["memorisation_ratio"] == 0 and all_copied["memorised"] == 1
    # A leak between the splits would hide that a model copies.
    with pytest.raises(UserError, match="equal to training clips"):
        memorisation(training, training[:10], training, names)


def test_numbers_are_those_of_the_definitions() -> None:
    """Fails when a formula differs from the papers', or balls of the wrong set are used."""
    real, generated, k = points(0, 150), points(1, 130, mean=0.4, scale=0.8), 4
    between = cdist(real, generated)
    real_radius = np.sort(cdist(real, real), axis=1)[:, k]
    generated_radius = np.sort(cdist(generated, generated), axis=1)[:, k]
    in_real = between <= real_radius[:, None]
    assert prdc(real, generated, k) == pytest.approx(
        {
            "precision": np.mean([in_real[:, j].any() for j in range(130)]),
            "recall": np.mean([(between[i] <= generated_radius).any() for i in range(150)]),
            "density": in_real.sum() / (k * 130),
            "coverage": np.mean([between[i].min() <= real_radius[i] for i in range(150)]),
        }
    )
