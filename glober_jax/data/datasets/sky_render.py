"""Draws a synthetic sky scene: sky and sun, cirrus, low clouds, ridges, film curve.

Picture coordinates run from 0 to 1, x to the right and y down. A ray above the horizon meets the
cloud plane at distance z = 1 / (elevation + 0.16), which gives the decks their perspective. Clouds
are lit by the difference between their density here and a little nearer the sun. Nothing depends
on the frame size but the sampling grid. Colours come first in the shapes, which broadcasts fast.

Dimensions: T frames, N side of a field's tile, H rows, W columns, C colours (float32 linear light,
until the film curve).
"""

from dataclasses import dataclass

import numpy as np

from glober_jax.data.datasets.sky_scene import CloudDeck, SkyScene, draw_scene

# The scene parameters describe this frame, so that a short clip stays near what its class promises.
_REFERENCE_FRAME = 8.0
_EXPOSURE = 1.35
_SUN_DRIFT = 0.002
# How far toward the sun (across, upward; in tiles) a cloud is compared with itself for its shading.
_SUNWARD_STEP = (0.012, 0.020)
_SUN_DISC_COLOUR = np.array((1.15, 1.10, 0.95), np.float32)[:, None, None, None]

# Colours by the sun's height: height, then RGB of zenith, horizon, sunlight and cloud shadow.
_PALETTE = np.array(
    (
        (-0.25, 0.035, 0.045, 0.11, 0.10, 0.10, 0.18, 0.30, 0.26, 0.32, 0.05, 0.055, 0.10),
        (0.00, 0.140, 0.170, 0.34, 0.90, 0.44, 0.24, 1.00, 0.52, 0.30, 0.22, 0.190, 0.28),
        (0.15, 0.220, 0.350, 0.62, 0.96, 0.72, 0.48, 1.05, 0.80, 0.58, 0.38, 0.360, 0.44),
        (0.45, 0.180, 0.420, 0.80, 0.72, 0.83, 0.93, 1.05, 1.02, 0.98, 0.50, 0.550, 0.64),
        (1.00, 0.120, 0.350, 0.76, 0.64, 0.79, 0.93, 1.06, 1.05, 1.03, 0.55, 0.600, 0.68),
    )
)


@dataclass(frozen=True)
class _View:
    """Where each pixel looks, and what the sun does over the window. All arrays float32.

    `elevation_HW` is 0 at the horizon and 1 at the top of the picture, `sun_distance_THW` the
    squared distance to the sun; the colours broadcast as [C, T, 1, 1].
    """

    x_HW: np.ndarray
    y_HW: np.ndarray
    elevation_HW: np.ndarray
    sun_height_T: np.ndarray
    sun_distance_THW: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    sunlight: np.ndarray
    shadow: np.ndarray

    @property
    def cloud_fade_HW(self) -> np.ndarray:
        """Lets clouds vanish into the horizon."""
        return _smooth(self.elevation_HW / 0.16)


def render_video(seed: int, index: int, *, size: int, num_frames: int, step: int = 1) -> np.ndarray:
    """Frames 0, `step`, 2 `step`, ... of scene `index` of dataset `seed`.

    They are uint8 [num_frames, size, size, 3]; the scene's class is `index % 4`.
    """
    scene = draw_scene(seed, index)
    frames_T = step * np.arange(num_frames, dtype=np.float64)
    view = _look(scene, size, frames_T - _REFERENCE_FRAME)
    light_CTHW = _sky(scene, view)
    light_CTHW = _add_high_clouds(light_CTHW, scene.high_clouds, view, frames_T)
    light_CTHW = _add_low_clouds(light_CTHW, scene, view, frames_T)
    light_CTHW = _add_ground(light_CTHW, scene, view)
    return _develop(light_CTHW)


def _look(scene: SkyScene, size: int, times_T: np.ndarray) -> _View:
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    x_HW, y_HW = np.meshgrid(axis, axis)
    height_T = scene.sun_height + scene.sun_climb * times_T
    sun_x_T = scene.sun_x + _SUN_DRIFT * times_T
    sun_y_T = scene.horizon * (1 - 0.95 * np.clip(height_T, -0.2, 1))
    dx_THW = x_HW - sun_x_T.astype(np.float32)[:, None, None]
    dy_THW = y_HW - sun_y_T.astype(np.float32)[:, None, None]
    channels = [np.interp(height_T, _PALETTE[:, 0], channel) for channel in _PALETTE.T[1:]]
    palette = np.stack(channels).astype(np.float32)[:, :, None, None]
    return _View(
        x_HW=x_HW,
        y_HW=y_HW,
        elevation_HW=np.maximum(np.float32(scene.horizon) - y_HW, 0) / np.float32(scene.horizon),
        sun_height_T=height_T.astype(np.float32),
        sun_distance_THW=dx_THW**2 + dy_THW**2,
        zenith=palette[0:3],
        horizon=palette[3:6],
        sunlight=palette[6:9],
        shadow=palette[9:12],
    )


def _sky(scene: SkyScene, view: _View) -> np.ndarray:
    """The gradient from horizon to zenith, the sun's glow and its disc: [C, T, H, W]."""
    height_HW = _smooth(view.elevation_HW**0.75)
    sky_CTHW = _mix(view.horizon, view.zenith, height_HW)
    distance = view.sun_distance_THW
    above = np.clip(view.sun_height_T * 6 + 1, 0, 1)[:, None, None]
    glow_THW = 0.38 * np.exp(distance / -0.03) + 0.22 * np.exp(distance / -0.25)
    glow_THW *= 0.75 * np.float32(1 - scene.gloom) * above
    disc_THW = _smooth((0.030 - np.sqrt(distance)) / 0.02 + 0.5) * above
    sky_CTHW += view.sunlight * glow_THW
    return _mix(sky_CTHW, _SUN_DISC_COLOUR, disc_THW)


def _deck_coordinates(deck: CloudDeck, view: _View) -> tuple[np.ndarray, np.ndarray]:
    """Tile coordinates of each pixel on the cloud plane."""
    distance_HW = 1 / (view.elevation_HW + 0.16)
    u_HW = (view.x_HW - 0.5) * distance_HW * deck.scale[0] + deck.origin[0]
    v_HW = -distance_HW * deck.scale[1] + deck.origin[1]
    return u_HW, v_HW


def _sample_field(field_TNN: np.ndarray, u_HW: np.ndarray, v_HW: np.ndarray) -> np.ndarray:
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


def _add_high_clouds(
    light_CTHW: np.ndarray, deck: CloudDeck, view: _View, frames_T: np.ndarray
) -> np.ndarray:
    """Thin cirrus: half transparent, coloured between sunlight and horizon, unshaded."""
    density_THW = _sample_field(deck.field.at(frames_T), *_deck_coordinates(deck, view))
    opacity_THW = _smooth((density_THW - np.float32(deck.threshold)) / 2.2)
    opacity_THW *= 0.5 * view.cloud_fade_HW
    colour = 0.75 * view.sunlight + 0.25 * view.horizon
    return _mix(light_CTHW, colour, opacity_THW)


def _add_low_clouds(
    light_CTHW: np.ndarray, scene: SkyScene, view: _View, frames_T: np.ndarray
) -> np.ndarray:
    """Cumulus or stratus: bright toward the sun, dark underneath, hazy toward the horizon."""
    deck = scene.low_clouds
    field_TNN = deck.field.at(frames_T)
    u_HW, v_HW = _deck_coordinates(deck, view)
    density_THW = _sample_field(field_TNN, u_HW, v_HW)
    across = _SUNWARD_STEP[0] if scene.sun_x > 0.5 else -_SUNWARD_STEP[0]
    sunward_THW = _sample_field(field_TNN, u_HW + across, v_HW - _SUNWARD_STEP[1])
    excess_THW = density_THW - np.float32(deck.threshold)
    thickness_THW = _smooth(excess_THW / 2.2)
    lit_THW = 0.60 + 0.60 * (density_THW - sunward_THW) - 0.45 * thickness_THW
    lit_THW = np.clip(lit_THW - np.float32(scene.gloom), 0, 1)
    rim_THW = 0.5 * np.exp(view.sun_distance_THW / -0.06) * (1 - thickness_THW)
    cloud_CTHW = _mix(view.shadow, view.sunlight, lit_THW) + view.sunlight * rim_THW
    haze_HW = 0.75 * np.exp(view.elevation_HW / -0.16)
    cloud_CTHW = _mix(cloud_CTHW, view.horizon, haze_HW)
    opacity_THW = _smooth(excess_THW / 1.1 + 0.25) * (0.96 * view.cloud_fade_HW)
    return _mix(light_CTHW, cloud_CTHW, opacity_THW)


def _add_ground(light_CTHW: np.ndarray, scene: SkyScene, view: _View) -> np.ndarray:
    """Two ridges of fixed shape; only their light follows the sun."""
    size = len(view.x_HW)
    soil_1NN = scene.soil.at(np.zeros(1))
    tint = np.float32(scene.ground_tint)[:, None, None, None]
    daylight = np.clip(view.sun_height_T * 1.5 + 0.25, 0.10, 1)[:, None, None]
    for ridge in scene.ridges:
        below_HW = view.y_HW - np.float32(scene.horizon) + ridge.profile(view.x_HW[0])
        texture_1HW = _sample_field(
            soil_1NN, view.x_HW * ridge.texture_scale[0], below_HW * ridge.texture_scale[1]
        )
        brightness_THW = (1 - ridge.haze) * ridge.brightness * daylight * (1 + 0.16 * texture_1HW)
        colour_CTHW = tint * brightness_THW
        colour_CTHW += 0.75 * ridge.haze * view.horizon
        # One pixel of soft edge keeps the silhouette free of stairs at every size.
        cover_HW = np.clip(below_HW * size + 0.5, 0, 1)
        light_CTHW = _mix(light_CTHW, colour_CTHW, cover_HW)
    return light_CTHW


def _develop(light_CTHW: np.ndarray) -> np.ndarray:
    """Film curve: linear light to uint8, highlights rolled off instead of clipped."""
    exposed_CTHW = 1 - np.exp(-_EXPOSURE * np.maximum(light_CTHW, 0))
    exposed_CTHW *= 255 / (1 - np.exp(-_EXPOSURE))
    frames_CTHW = (np.minimum(exposed_CTHW, 255) + 0.5).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(frames_CTHW, 0, -1))


def _mix(below: np.ndarray, above: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    mixed = (above - below) * opacity
    mixed += below
    return mixed


def _smooth(x: np.ndarray) -> np.ndarray:
    """Hermite step: 0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
