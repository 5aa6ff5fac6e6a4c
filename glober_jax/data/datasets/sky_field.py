"""Drifting, churning random fields: the raw material of the synthetic clouds.

A field is a sum of plane waves on a periodic N x N tile,

    f(x, y, t) = Re sum_k A_k exp(i (phi_k + 2 pi k.(x, y) + t w_k)),   |A_k| ~ |k|^(-slope/2)

with w_k = churn_k - 2 pi k.velocity. The second term moves the whole pattern rigidly (exactly, not
by whole pixels); churn_k is random and grows with |k|^(2/3), so small shapes boil faster than large
ones, as turbulence does. Time enters in closed form, so any window of frames can be drawn alone.

Dimensions: T frames, N tile side, F = N // 2 + 1 stored frequencies, H rows, W columns.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Field:
    """One random field. `waves_NF` is complex64, `rates_NF` float64 in radians per frame."""

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


def draw_field(
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


def sample_field(field_TNN: np.ndarray, u_HW: np.ndarray, v_HW: np.ndarray) -> np.ndarray:
    """Looks a field up bilinearly: float32 [T, H, W]; u across, v down, 1.0 is one tile."""
    tile = field_TNN.shape[-1]
    column, column_part = _cell(u_HW, tile)
    row, row_part = _cell(v_HW, tile)
    flat = field_TNN.reshape(len(field_TNN), -1)

    def along_row(row_HW: np.ndarray) -> np.ndarray:
        left = flat[:, row_HW * tile + column]
        right = flat[:, row_HW * tile + (column + 1) % tile]
        return left + (right - left) * column_part

    upper = along_row(row)
    return upper + (along_row((row + 1) % tile) - upper) * row_part


def _cell(coordinate_HW: np.ndarray, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits periodic coordinates into the cell number and the float32 position inside the cell."""
    position = (coordinate_HW % 1.0) * tile
    cell = position.astype(np.int32)
    return cell % tile, (position - cell).astype(np.float32)
