"""Schedules, sampling steps, pairs and losses: what has no weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax import losses
from glober_jax.diffusion.ddim import DDIMSchedule, ddim_step, sampling_timesteps
from glober_jax.diffusion.guidance import ConditionGuidance, DecoderGuidance, combine
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.errors import UserError
from glober_jax.models.compat import reference_slot
from glober_jax.models.generator import grid_positions
from glober_jax.models.latents import Gaussian
from glober_jax.models.layers import sinusoidal_embedding
from tests.parity.recording import ARITHMETIC, Recording, relative_error


def process_of(recording: Recording) -> DiffusionProcess:
    meta = recording.meta
    return DiffusionProcess(meta["timesteps"], meta["linear_start"], meta["linear_end"])


@pytest.mark.recorded("schedule")
def test_noise_schedule(recording: Recording) -> None:
    """Fails when β is linear itself (broken so), or ᾱ is not computed in float64."""
    alphas = process_of(recording).alphas_cumprod
    np.testing.assert_allclose(alphas, recording["out/alphas_cumprod_f64"], rtol=1e-12)
    betas = 1.0 - alphas / np.concatenate([[1.0], alphas[:-1]])
    np.testing.assert_allclose(betas, recording["out/betas_f64"], rtol=1e-9)
    assert relative_error(np.sqrt(alphas), recording["out/sqrt_alphas_cumprod"]) < ARITHMETIC
    noise = np.sqrt(1.0 - alphas)
    assert relative_error(noise, recording["out/sqrt_one_minus_alphas_cumprod"]) < ARITHMETIC


@pytest.mark.recorded("schedule")
def test_noising_and_its_inverse(recording: Recording) -> None:
    """Fails when √ᾱ and √(1-ᾱ) change places (broken so), or when t is off by one."""
    process = process_of(recording)
    noise, t_B = recording["in/noise"], recording["in/t"]
    x_t = process.add_noise(recording["in/x0"], noise, t_B)
    assert relative_error(x_t, recording["out/q_sample"]) < ARITHMETIC
    x0, eps = process.to_x0_eps(noise, recording["out/q_sample"], t_B)
    np.testing.assert_array_equal(eps, noise)
    assert relative_error(x0, recording["out/predict_start"]) < ARITHMETIC


@pytest.mark.recorded("schedule")
def test_ddim_tables(recording: Recording) -> None:
    """Fails for a count that does not divide the steps when one step too few is visited.

    Broken: as many steps as asked for; the last step going to ᾱ = 1; η's variance without its
    second factor.
    """
    process = process_of(recording)
    tables = {n.removesuffix("_timesteps") for n in recording.named("out/ddim") if "time" in n}
    assert tables
    for table in tables:
        steps, _, eta = table.partition("_eta")
        recorded = {key: recording[f"out/ddim{table}_{key}"] for key in _keys(recording, table)}
        if recorded["timesteps"][-1] >= process.num_timesteps:
            with pytest.raises(UserError, match="leading spacing has no room"):
                sampling_timesteps(process.num_timesteps, int(steps), "leading")
            continue
        schedule = DDIMSchedule.of(process, int(steps), "leading", float(eta or 0.0))
        signal, direction, deviation = (np.asarray(x)[::-1] for x in schedule[1:])
        np.testing.assert_array_equal(schedule.timesteps[::-1], recorded["timesteps"])
        assert relative_error(signal**2, recorded["alphas_prev"]) < ARITHMETIC
        np.testing.assert_allclose(deviation, recorded["sigmas"], rtol=2e-5, atol=1e-7)
        # Of 1 - ᾱ little is left at the clean end, where the recorded float32 ᾱ has few digits.
        expected = np.sqrt(1.0 - recorded["alphas_prev"] - recorded["sigmas"] ** 2)
        assert relative_error(direction, expected) < 5e-5


def _keys(recording: Recording, table: str) -> list[str]:
    return [key for key in recording.named(f"out/ddim{table}_") if "_" not in key or key[0] == "a"]


@pytest.mark.recorded("ddim_step")
def test_guided_ddim_steps(recording: Recording) -> None:
    """Fails when the two scales or the two reduced branches change places (broken so)."""
    meta, process = recording.meta, DiffusionProcess()
    guidance = DecoderGuidance(meta["scale_video"], meta["scale_domain"])
    branches = {"full": "e_cond", "video": "e_uncond_video", "domain": "e_uncond_domain"}
    cases = {n.split(".x_prev")[0] for n in recording.named("out/eta") if "x_prev" in n}
    assert cases
    for case in cases:
        eta, index = case.split("_i")
        given = recording.named(f"in/eta{case}.")
        predictions = {ours: given[theirs] for ours, theirs in branches.items()}
        eps = combine(guidance.weights, predictions)
        # Recorded steps count from the last one, schedules from the first.
        schedule = DDIMSchedule.of(process, meta["steps"], "leading", float(eta))
        level = jax.tree.map(lambda table, i=int(index): table[::-1][i], schedule)
        np.testing.assert_array_equal(given["t"], np.full_like(given["t"], level.timesteps))
        noise = given["noise"] if float(eta) else None
        x_prev = ddim_step(process, level, given["x"], eps, noise)
        x0, _ = process.to_x0_eps(eps, given["x"], given["t"])
        assert relative_error(x_prev, recording[f"out/eta{case}.x_prev"]) < 1e-5
        assert relative_error(x0, recording[f"out/eta{case}.pred_x0"]) < 1e-5


@pytest.mark.recorded("ddim_step")
def test_guided_generator_step(recording: Recording) -> None:
    """Fails when conditional and unconditional prediction change places (broken so)."""
    meta, process, given = recording.meta, DiffusionProcess(), recording.named("in/gen.")
    predictions = {"with": given["e_cond"], "without": given["e_uncond"]}
    eps = combine(ConditionGuidance(meta["gen_scale"]).weights, predictions)
    schedule = DDIMSchedule.of(process, meta["steps"], "leading")
    level = jax.tree.map(lambda table: table[::-1][meta["gen_index"]], schedule)
    x_prev = ddim_step(process, level, given["x"], eps)
    assert relative_error(x_prev, recording["out/gen.x_prev"]) < 1e-5


@pytest.mark.recorded("adversarial")
def test_pairs_labels_and_hinge_of_both_steps(recording: Recording) -> None:
    """Fails when frames of different clips or the wrong two meet, or a label is wrong.

    Broken: two kinds of pairs swapped; a pair in the wrong order counted as real.
    """
    clips = recording.meta["B"]

    def frames(name: str) -> np.ndarray:
        recorded = recording.channels_last(f"in/{name}")
        return recorded.reshape(clips, -1, *recorded.shape[1:])[:, [0, -1]]

    def by_kind(name: str) -> np.ndarray:
        recorded = recording[name]
        return recorded.reshape(-1, clips, *recorded.shape[1:])

    pairs = losses.frame_pairs(frames("real"), frames("fake"))
    for step, kinds in (("discriminator", slice(None)), ("generator", slice(1, 4))):
        np.testing.assert_array_equal(
            pairs[kinds], np.moveaxis(by_kind(f"out/{step}.pairs"), 2, -1)
        )
    labels = by_kind("out/discriminator.labels")
    assert (labels[losses.PAIR_KINDS.index("real")] == 1).all() and labels.sum() == clips

    logits = np.zeros((6, clips), np.float32)
    for step, kinds, compute in (
        ("discriminator", slice(None), losses.discriminator_loss),
        ("generator", slice(1, 4), losses.decoder_adversarial_loss),
    ):
        given = jnp.asarray(logits).at[kinds].set(by_kind(f"in/{step}.logits"))
        loss, gradient = jax.value_and_grad(lambda x, f=compute: f(x).mean())(given)
        assert relative_error(loss, recording[f"out/{step}.hinge"]) < ARITHMETIC
        expected = np.zeros_like(logits)
        expected[kinds] = by_kind(f"out/{step}.hinge_grad")
        assert relative_error(gradient, expected) < ARITHMETIC


@pytest.mark.recorded("kl")
def test_posterior_sample_and_kl(recording: Recording) -> None:
    """Fails when the log-variance is not clamped, or KL is averaged (broken so)."""
    posterior = Gaussian.from_moments(recording.channels_last("in/parameters"))
    np.testing.assert_array_equal(posterior.mean, recording.channels_last("out/mean"))
    np.testing.assert_array_equal(posterior.log_variance, recording.channels_last("out/logvar"))
    assert relative_error(posterior.kl(), recording["out/kl"]) < ARITHMETIC
    sample = posterior.at(recording.channels_last("in/noise"))
    assert relative_error(sample, recording.channels_last("out/sample")) < ARITHMETIC


@pytest.mark.recorded("indices")
def test_published_slots(recording: Recording) -> None:
    """Fails when the slot is rounded and not cut off (broken so), or scaled by F."""
    found = recording.named("out/")
    for name, slots in found.items():
        if "slots" not in name:
            continue
        kind, count = name.split("_slots_F")
        total, _, asked = count.partition("_n")
        frames = int(asked) if kind == "sampling" else int(total)
        index = np.arange(frames, dtype=np.float32) / frames
        np.testing.assert_array_equal(reference_slot(index, int(total)), slots)


@pytest.mark.recorded("layers")
def test_embeddings_of_steps_and_places(recording: Recording) -> None:
    """Fails when sine comes before cosine, or rows before columns (broken so)."""
    for name, expected in recording.named("out/timestep_embedding_").items():
        given = recording[f"in/timestep_embedding_{name}.0"]
        assert relative_error(sinusoidal_embedding(given, int(name)), expected) < 1e-5
    for name, expected in recording.named("out/sincos2d_").items():
        dim, side, *some = (int(part) if part.isdigit() else part for part in name.split("_"))
        places = np.asarray(grid_positions(side, side, dim))
        if some:
            places = places[[0, 1, side, -1]]
        assert relative_error(places, expected) < 1e-5
