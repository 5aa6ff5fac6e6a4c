"""Writes frames as MP4, GIF and PNG, and draws grids and contact sheets.

Functions raise ValueError for pixels that are not uint8 RGB, and `UserError` for paths, local or
`gs://`, that cannot be written. Dimensions: N videos, T frames, H height, W width, C = 3 colours.
"""

import base64
import contextlib
import io
import pathlib
from collections.abc import Mapping, Sequence
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from etils import epath
from PIL import Image, ImageDraw, ImageFont

from glober_jax.errors import UserError

_BACKGROUND = 255
_INK = (40, 40, 40)
_LABEL_MARGIN = 8
# White pixels between the clips of a comparison.
_CLIP_GAP = 10


def write_file(path: epath.PathLike, data: bytes) -> None:
    """Writes `data` to `path` atomically; makes missing parent folders."""
    target = epath.Path(path)
    # A name has at most 255 bytes, and 60 characters at most 240.
    temporary = target.with_name(f".{target.name[-60:]}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = error.strerror or error
        raise UserError(f"cannot write {target}: {reason}; choose another output path") from error


def make_folder(path: epath.PathLike) -> None:
    """Makes a folder and checks that it can be written to."""
    probe = epath.Path(path) / ".writable"
    write_file(probe, b"")
    # Another command may check the same folder.
    probe.unlink(missing_ok=True)


def check_output(path: epath.Path) -> None:
    """Raises `UserError` unless `path`, a command's --output, is or can become a file."""
    try:
        # Only pathlib says where a name is too long; it has no buckets.
        is_folder = (path if "://" in str(path) else pathlib.Path(path)).is_dir()
    except OSError as error:
        raise UserError(f"cannot write --output={path}: {error.strerror}") from error
    if is_folder:
        raise UserError(
            f"--output={path} is a folder: name a file in it, such as {path / 'score.json'}"
        )
    make_folder(path.parent)


def write_mp4(path: epath.PathLike, frames_THWC: np.ndarray, fps: float) -> None:
    """Writes the MP4 of frames uint8 [T, H, W, 3]; see `Mp4Encoder`."""
    write_file(path, encode_mp4(frames_THWC, fps))


def encode_mp4(frames_THWC: np.ndarray, fps: float) -> bytes:
    """The MP4 of frames uint8 [T, H, W, 3]; see `Mp4Encoder`."""
    encoder = Mp4Encoder(fps)
    encoder.add(frames_THWC)
    return encoder.finish()


def mp4_data_uri(frames_THWC: np.ndarray, fps: float) -> str:
    """`encode_mp4` as the `src` of a `<video>`."""
    return f"data:video/mp4;base64,{base64.b64encode(encode_mp4(frames_THWC, fps)).decode()}"


class Mp4Encoder:
    """Encodes an H.264 MP4 that browsers play (yuv420p, crf 18) in memory, piece by piece."""

    def __init__(self, fps: float) -> None:
        """`fps` frames per second."""
        self._buffer = io.BytesIO()
        self._container = av.open(self._buffer, "w", format="mp4")
        rate = Fraction(fps).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate, options={"crf": "18"})
        self._stream.pix_fmt = "yuv420p"
        # Without these tags players guess the colour space from the frame size.
        codec = self._stream.codec_context
        codec.colorspace = Colorspace.ITU709
        codec.color_primaries = ColorPrimaries.BT709
        codec.color_trc = ColorTrc.BT709
        codec.color_range = ColorRange.MPEG
        self._started = False

    def add(self, frames_THWC: np.ndarray) -> None:
        """Appends frames uint8 [T, H, W, 3] of one size.

        The last row or column of an odd height or width is repeated: yuv420p needs even ones.
        """
        _check_pixels(frames_THWC, ndim=4)
        _, height, width, _ = frames_THWC.shape
        padding = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
        frames_THWC = np.pad(frames_THWC, padding, mode="edge")
        if not self._started:
            self._stream.height, self._stream.width = frames_THWC.shape[1:3]
            self._started = True
        for frame_HWC in frames_THWC:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            self._container.mux(self._stream.encode(frame))

    def finish(self) -> bytes:
        """The whole file; ends the encoding."""
        self._container.mux(self._stream.encode())
        self._container.close()
        return self._buffer.getvalue()


def read_mp4(path: epath.PathLike, most_frames: int) -> np.ndarray:
    """At most `most_frames` frames, evenly spread over a video: uint8 [T, H, W, 3]."""
    with av.open(io.BytesIO(epath.Path(path).read_bytes())) as container:
        total = container.streams.video[0].frames
        wanted = set(np.linspace(0, total - 1, min(total, most_frames)).round().astype(int))
        frames = [
            frame.to_ndarray(format="rgb24")
            for number, frame in enumerate(container.decode(video=0))
            if number in wanted
        ]
    return np.stack(frames)


def write_gif(path: epath.PathLike, frames_THWC: np.ndarray, fps: float) -> None:
    """Writes a looping GIF of frames uint8 [T, H, W, 3] with a palette for each.

    `fps` is at most 50, and a frame's time is rounded to 1/100 s.
    """
    _check_pixels(frames_THWC, ndim=4)
    images = []
    for image in map(Image.fromarray, frames_THWC):
        # Dithering hides the banding of 256 colours.
        palette, dither = image.quantize(256), Image.Dither.FLOYDSTEINBERG
        images.append(image.quantize(palette=palette, dither=dither))
    # Browsers show anything shorter than 20 ms for 100 ms.
    duration = max(20, 10 * round(100 / fps))
    options = {"save_all": True, "append_images": images[1:], "loop": 0, "optimize": False}
    buffer = io.BytesIO()
    images[0].save(buffer, format="GIF", duration=duration, **options)
    write_file(path, buffer.getvalue())


def write_png(path: epath.PathLike, image_HWC: np.ndarray) -> None:
    """Writes one uint8 [H, W, 3] image as PNG."""
    write_file(path, encode_png(image_HWC))


def encode_png(image_HWC: np.ndarray) -> bytes:
    """The PNG file of one uint8 [H, W, 3] image."""
    _check_pixels(image_HWC, ndim=3)
    buffer = io.BytesIO()
    Image.fromarray(image_HWC).save(buffer, format="PNG")
    return buffer.getvalue()


def tile_videos(videos_NTHWC: np.ndarray, columns: int | None = None, gap: int = 2) -> np.ndarray:
    """A grid of videos uint8 [N, T, H, W, 3], row by row, by default as square as possible.

    Empty cells and the `gap` pixels between neighbours are white. Returns uint8 [T, rows *
    (H + gap) - gap, columns * (W + gap) - gap, 3].
    """
    _check_pixels(videos_NTHWC, ndim=5)
    count, length, height, width, channels = videos_NTHWC.shape
    columns = min(columns or int(np.ceil(np.sqrt(count))), count)
    rows = -(-count // columns)
    shape = (length, rows * (height + gap) - gap, columns * (width + gap) - gap, channels)
    frames_THWC = np.full(shape, _BACKGROUND, np.uint8)
    for n, video_THWC in enumerate(videos_NTHWC):
        top, left = n // columns * (height + gap), n % columns * (width + gap)
        frames_THWC[:, top : top + height, left : left + width] = video_THWC
    return frames_THWC


def contact_sheet(
    videos_NTHWC: np.ndarray,
    columns: int = 8,
    gap: int = 1,
    row_labels: Sequence[str] | None = None,
    scale: int = 1,
) -> np.ndarray:
    """A row of at most `columns` frames, from first to last, for each video uint8 [N, T, H, W, 3].

    Frames are enlarged by `scale` (bicubic), `gap` white pixels apart; the N `row_labels` stand at
    the left, L pixels wide.

    Returns:
      uint8 [N * (scale * H + gap) - gap, L + columns * (scale * W + gap) - gap, 3].
    """
    _check_pixels(videos_NTHWC, ndim=5)
    length = videos_NTHWC.shape[1]
    chosen = np.linspace(0, length - 1, min(columns, length)).round().astype(int)
    cells_NTHWC = enlarge(videos_NTHWC[:, chosen], scale)
    count, shown, height, width, channels = cells_NTHWC.shape
    cells_THWC = cells_NTHWC.reshape(1, count * shown, height, width, channels)
    sheet_HWC = tile_videos(cells_THWC.swapaxes(0, 1), columns=shown, gap=gap)[0]
    if row_labels is None:
        return sheet_HWC
    if len(row_labels) != count:
        raise ValueError(f"{len(row_labels)} row labels for {count} videos")
    return np.concatenate([_draw_labels(row_labels, height, gap), sheet_HWC], axis=1)


def comparison_sheet(rows: Mapping[str, np.ndarray], scale: int = 1) -> np.ndarray:
    """A `contact_sheet` of all versions of a clip for each of N clips: uint8 [H', W', 3].

    `rows` are the versions by label, such as "real", uint8 [N, T, H, W, 3] of one shape.
    """
    clips_NRTHWC = np.stack(list(rows.values()), axis=1)
    sheets = [contact_sheet(clip, row_labels=list(rows), scale=scale) for clip in clips_NRTHWC]
    return tile_videos(np.stack(sheets)[:, None], columns=1, gap=_CLIP_GAP)[0]


def _check_pixels(pixels: np.ndarray, ndim: int) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != ndim or pixels.shape[-1] != 3 or not pixels.size:
        raise ValueError(
            f"expected non-empty uint8 RGB with {ndim} dimensions, got {pixels.dtype} "
            f"{list(pixels.shape)}"
        )


def enlarge(frames: np.ndarray, scale: int) -> np.ndarray:
    """Frames uint8 [..., H, W, 3] enlarged by bicubic interpolation: [..., scale H, scale W, 3]."""
    if scale == 1:
        return frames
    *lead, height, width, channels = frames.shape
    size = (width * scale, height * scale)
    enlarged = [
        np.asarray(Image.fromarray(frame_HWC).resize(size, Image.Resampling.BICUBIC))
        for frame_HWC in frames.reshape(-1, height, width, channels)
    ]
    return np.stack(enlarged).reshape(*lead, height * scale, width * scale, channels)


def _draw_labels(labels: Sequence[str], row_height: int, gap: int) -> np.ndarray:
    """uint8 [rows * (row_height + gap) - gap, L, 3] with each label centred on its row."""
    font = ImageFont.load_default(float(np.clip(row_height // 5, 11, 20)))
    text_width = max(font.getlength(label) for label in labels)
    width = int(np.ceil(text_width)) + 2 * _LABEL_MARGIN
    height = len(labels) * (row_height + gap) - gap
    image = Image.new("RGB", (width, height), (_BACKGROUND,) * 3)
    draw = ImageDraw.Draw(image)
    for row, label in enumerate(labels):
        middle = row * (row_height + gap) + row_height / 2
        draw.text((width - _LABEL_MARGIN, middle), label, _INK, font, anchor="rm")
    return np.asarray(image)
