"""The content of a synthetic sky: every random choice of one scene, before any pixel is drawn.

A scene is a pure function of (seed, index) and knows neither the frame size nor the clip length.
Time enters in closed form, so any window of frames can be drawn alone.

Dimensions: T frames, N tile side, F = N // 2 + 1 stored frequencies, W columns.
"""

from dataclasses import dataclass

import numpy as np

CLASS_NAMES = ("clear", "broken", "overcast", "sunset")

# How far the low deck must rise above its mean to count as cloud, in standard deviations.
_CLOUD_THRESHOLD = {
    "clear": (0.9, 1.5),
    "broken": (0.05, 0.55),
    "overcast": (-1.1, -0.5),
    "sunset": (0.1, 0.9),
}
_RIDGE_OCTAVES = 5
_RIDGE_ROUGHNESS = 0.55


@dataclass(frozen=True)
class Field:
    """A drifting, churning random field: a sum of plane waves on a periodic N x N tile,

        f(x, y, t) = Re sum_k A_k exp(i (phi_k + 2 pi k.(x, y) + t w_k)),   |A_k| ~ |k|^(-slope/2)

    with w_k = churn_k - 2 pi k.velocity. The second term moves the pattern rigidly, and exactly;
    churn_k is random and grows with |k|^(2/3), so small shapes boil faster than large ones, as in
    turbulence. `waves_NF` is complex64, `rates_NF` float64 in radians per frame.
    """

    tile: int
    waves_NF: np.ndarray
    rates_NF: np.ndarray

    def at(self, times_T: np.ndarray) -> np.ndarray:
        """The field at the given times (in frames): float32 [T, N, N], unit variance at time 0."""
        phase_TNF = (times_T[:, None, None] * self.rates_NF).astype(np.float32)
        turn_TNF = np.empty(phase_TNF.shape, np.complex64)
        turn_TNF.real, turn_TNF.imag = np.cos(phase_TNF), np.sin(phase_TNF)
        field_TNN = np.fft.irfft2(self.waves_NF * turn_TNF, s=(self.tile, self.tile))
        return field_TNN.astype(np.float32)


@dataclass(frozen=True)
class Ridge:
    """A mountain silhouette: sines of falling height; `haze` 1 has the horizon's colour."""

    height: float
    offset: float
    haze: float
    brightness: float
    texture_scale: tuple[float, float]
    frequencies: tuple[float, ...]
    phases: tuple[float, ...]

    def profile(self, x_W: np.ndarray) -> np.ndarray:
        """Height of the ridge line above its base at x in [0, 1], in picture heights: float32."""
        profile_W = np.zeros_like(x_W)
        waves = zip(self.frequencies, self.phases, strict=True)
        for octave, (frequency, phase) in enumerate(waves):
            profile_W += _RIDGE_ROUGHNESS**octave * np.sin(2 * np.pi * (frequency * x_W + phase))
        return (self.height / 2 * profile_W - self.offset).astype(np.float32)


@dataclass(frozen=True)
class CloudDeck:
    """A cloud layer; `scale` is (across, depth) tiles per unit of the perspective plane."""

    field: Field
    scale: tuple[float, float]
    origin: tuple[float, float]
    threshold: float


@dataclass(frozen=True)
class SkyScene:
    """One sky. Lengths are in picture heights or widths, times in frames.

    Attributes:
      horizon: row of the horizon, 0 at the top of the picture and 1 at the bottom.
      sun_x: column of the sun at the reference time.
      sun_height: 0 on the horizon, 1 at the top, negative after sunset.
      sun_climb: change of `sun_height` per frame.
      gloom: how much light an overcast deck takes away, 0 to 1.
      ground_tint: RGB of the ground in full daylight.
    """

    horizon: float
    sun_x: float
    sun_height: float
    sun_climb: float
    gloom: float
    low_clouds: CloudDeck
    high_clouds: CloudDeck
    soil: Field
    ground_tint: tuple[float, float, float]
    ridges: tuple[Ridge, Ridge]


def draw_scene(seed: int, index: int) -> SkyScene:
    """Draws scene number `index` of the sky dataset `seed`; its class is `index % 4`."""
    rng = np.random.default_rng((seed, index))
    name = CLASS_NAMES[index % len(CLASS_NAMES)]
    low_clouds, high_clouds = _draw_clouds(rng, name)
    return SkyScene(
        horizon=rng.uniform(0.66, 0.82),
        sun_x=rng.uniform(0.1, 0.9),
        sun_height=rng.uniform(-0.04, 0.14) if name == "sunset" else rng.uniform(0.3, 0.9),
        sun_climb=rng.choice((-1.0, 1.0)) * rng.uniform(0.002, 0.008),
        gloom=rng.uniform(0.15, 0.4) if name == "overcast" else 0.0,
        low_clouds=low_clouds,
        high_clouds=high_clouds,
        soil=_draw_field(rng, tile=64, slope=2.0, band=(2, 20), churn=0.0),
        ground_tint=tuple(np.array((0.085, 0.105, 0.075)) * rng.uniform(0.6, 1.5, 3)),
        ridges=(
            _draw_ridge(rng, height=0.075, offset=-0.01, haze=0.42, near=0),
            _draw_ridge(rng, height=0.055, offset=0.075, haze=0.06, near=1),
        ),
    )


def _draw_clouds(rng: np.random.Generator, name: str) -> tuple[CloudDeck, CloudDeck]:
    """The low cumulus deck and the thin cirrus above it, which the same wind moves more slowly."""
    direction, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.006, 0.022)
    wind = (1.3 * speed * np.cos(direction), 0.7 * speed * np.sin(direction))
    scale = rng.uniform(0.16, 0.30)
    low = CloudDeck(
        field=_draw_field(rng, tile=96, slope=3.4, band=(2, 40), churn=0.035, velocity=wind),
        scale=(scale, 1.25 * scale),
        origin=(rng.uniform(), rng.uniform()),
        threshold=rng.uniform(*_CLOUD_THRESHOLD[name]),
    )
    lag = rng.uniform(0.3, 0.6)
    slower = (lag * wind[0], lag * wind[1])
    high = CloudDeck(
        field=_draw_field(rng, tile=64, slope=2.8, band=(2, 24), churn=0.020, velocity=slower),
        scale=(0.5 * scale, 1.6 * scale),
        origin=(rng.uniform(), rng.uniform()),
        threshold=rng.uniform(0.2, 1.2),
    )
    return low, high


def _draw_field(
    rng: np.random.Generator,
    *,
    tile: int,
    slope: float,
    band: tuple[int, int],
    churn: float,
    velocity: tuple[float, float] = (0.0, 0.0),
) -> Field:
    """Draws a field whose pattern moves by `velocity` (x, y) tiles per frame.

    `band` is in waves per tile, `churn` in radians per frame at the lowest frequency `band[0]`.
    """
    waves_x = np.fft.rfftfreq(tile, 1 / tile)[None, :]
    waves_y = np.fft.fftfreq(tile, 1 / tile)[:, None]
    frequency_NF = np.hypot(waves_x, waves_y)
    lowest, highest = band
    in_band_NF = (frequency_NF >= lowest) & (frequency_NF <= highest)
    amplitude_NF = in_band_NF * np.maximum(frequency_NF, 1) ** (-slope / 2)
    phase_NF = rng.uniform(0, 2 * np.pi, frequency_NF.shape)
    boil_NF = churn * (np.maximum(frequency_NF, 1) / lowest) ** (2 / 3)
    rates_NF = rng.standard_normal(frequency_NF.shape) * boil_NF
    rates_NF -= 2 * np.pi * (waves_x * velocity[0] + waves_y * velocity[1])
    waves_NF = amplitude_NF * np.exp(1j * phase_NF)
    waves_NF /= np.fft.irfft2(waves_NF, s=(tile, tile)).std()
    return Field(tile, waves_NF.astype(np.complex64), rates_NF)


def _draw_ridge(
    rng: np.random.Generator, *, height: float, offset: float, haze: float, near: int
) -> Ridge:
    octaves = range(_RIDGE_OCTAVES)
    return Ridge(
        height=height,
        offset=offset,
        haze=haze,
        brightness=1.5 + 0.75 * near,
        texture_scale=(1.2 - 0.5 * near, 2.0 - near),
        frequencies=tuple(2.0**octave * rng.uniform(0.7, 1.3) for octave in octaves),
        phases=tuple(rng.uniform() for _ in octaves),
    )
