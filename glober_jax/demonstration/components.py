"""Gradio components of the page: input fields shared by its tabs, and displays of results.

Dimension key: n frames so far, H, W frame size, C = 3 colours.
"""

import html
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np

from glober_jax import media
from glober_jax.demonstration.requests import MAX_FRAMES, MAX_SCALE, Part, part_of_clip
from glober_jax.demonstration.session import NOT_YET, Session, Stage
from glober_jax.diffusion.samplers import SPACINGS
from glober_jax.errors import UserError

Field = gr.components.Component

_RATE, _COUNT = "Slow motion", "Number of frames"
# Of events that only update fields: they neither queue nor show progress.
_QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# Small frames are enlarged to about this many pixels: height and maximum width of a video, and
# height of a frame in the sheet.
_VIDEO_SIZE, _VIDEO_WIDTH, _SHEET_FRAME_SIZE = 320, 960, 128
_SHEET_COLUMNS, _SHEET_FRAMES = 8, 16
NOTHING_YET = "<div class='stage'></div>"


def seed_and_condition(
    session: Session, seed: int = 0, of: str = "", choice: int = 0
) -> list[Field]:
    """The fields that decide a new video; `of` is appended to their labels.

    Their values are `seed` and the condition at position `choice`.
    """
    choices = session.conditions
    with gr.Row():
        # Custom values are allowed because Gradio's own check prints a stack trace.
        condition = gr.Dropdown(
            list(choices),
            value=choices[choice] if choices else None,
            label=f"{session.kind.capitalize()}{of}",
            allow_custom_value=True,
            visible=bool(choices),
            min_width=120,
        )
        # As text: a browser rounds numbers to 53 bits.
        number = gr.Textbox(
            str(seed), label=f"Seed{of}", max_lines=1, min_width=120, elem_classes="seed"
        )
    return [number, condition]


def follow(followers: Sequence[Field], leaders: Sequence[Field]) -> None:
    """Copies every change of the leaders' values to the followers."""
    for follower, leader in zip(followers, leaders, strict=True):
        leader.change(None, leader, follower, js="(value) => value", **_QUIET)


def part_fields(start: float = 0.0, end: float = 1.0, rate: float = 1.0) -> list[Field]:
    """Fields in the order that `read_part` takes."""
    with gr.Row():
        start = gr.Slider(0, 1, start, step=0.01, label="Start", buttons=[], min_width=120)
        end = gr.Slider(0, 1, end, step=0.01, label="End", buttons=[], min_width=120)
    by = gr.Radio([_RATE, _COUNT], value=_RATE, label="How long")
    rate = gr.Slider(
        0.25,
        16,
        rate,
        step=0.25,
        label="Frames for each frame of the clip",
        info="2 is slow motion at half the speed",
        buttons=[],
    )
    frames = gr.Number(32, label="Frames", info=f"1 to {MAX_FRAMES}", precision=0, visible=False)
    by.change(
        lambda by: (gr.update(visible=by == _RATE), gr.update(visible=by == _COUNT)),
        by,
        [rate, frames],
        **_QUIET,
    )
    return [start, end, by, rate, frames]


def read_part(values: Sequence[Any], clip_frames: int) -> Part:
    """The values of `part_fields`; raises as `part_of_clip`."""
    start, end, by, rate, frames = values
    length = {"rate": rate} if by == _RATE else {"frames": frames}
    return part_of_clip(start, end, clip_frames=clip_frames, **length)


def sampling_fields(session: Session) -> dict[str, Field]:
    """Fields of `SamplingOptions` by name, with the config's values."""
    options = session.experiment.sampling
    scales = {"video_scale": "Guidance to the video", "domain_scale": "Guidance to the domain"}
    if session.kind != "unconditional":
        scales = {"condition_scale": f"Guidance to the {session.kind}", **scales}
    with gr.Accordion("Sampling, on all tabs", open=False):
        steps = min(options.steps, session.max_steps)
        fields: dict[str, Field] = {
            "sampler": gr.Radio(list(SPACINGS), value=options.sampler, label="Sampler"),
            "steps": gr.Slider(1, session.max_steps, steps, step=1, label="Steps", buttons=[]),
        }
        for name, label in scales.items():
            value = getattr(options, name)
            fields[name] = gr.Slider(0, MAX_SCALE, value, step=0.25, label=label, buttons=[])
    return fields


def length_line(describe: Callable[..., str], fields: Sequence[Field]) -> None:
    """A line of text, `describe` of the values of `fields`, that is updated when they change."""

    def line(*values: Any) -> str:
        try:
            return f"<div class='length-line'>{html.escape(describe(*values))}</div>"
        except UserError as error:
            return f"<div class='length-line wrong'>{html.escape(str(error))}</div>"

    shown = gr.HTML(line(*(field.value for field in fields)))
    changes = [field.change for field in fields]
    gr.on(changes, line, list(fields), shown, trigger_mode="always_last", **_QUIET)


class Shown(NamedTuple):
    """Values of the components of `display`."""

    note: str = NOTHING_YET
    video: Any = None
    sheet: Any = None


def display(label: str, shown: Shown | None = None, height: int = 340) -> list[Any]:
    """Components for a note, a video and its frames, filled with `shown`."""
    note, video, sheet = shown or Shown()
    return [gr.HTML(note), player(label, video, height), sheet_below(sheet)]


def player(label: str, video: str | None = None, height: int = 340) -> gr.Video:
    """A looping video. Without Gradio's button to share, which uploads to another host."""
    return gr.Video(
        video,
        label=label,
        autoplay=True,
        loop=True,
        interactive=False,
        height=height,
        min_width=280,
        buttons=["download"],
    )


def sheet_below(sheet: np.ndarray | None = None) -> gr.Image:
    """The frames of a video as one picture."""
    return gr.Image(
        sheet,
        label="Its frames",
        show_label=False,
        interactive=False,
        format="png",
        buttons=["download", "fullscreen"],
    )


def show(
    stages: Iterator[Stage], fps: float, original_nHWC: np.ndarray | None = None
) -> Iterator[Shown]:
    """Values of `display` at each stage; `original_nHWC` is shown to the left of the frames.

    The video is updated whenever twice as much of it is done: encoding it at every chunk would
    take longer than decoding.
    """
    played = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for note, frames_nHWC, total, fraction in stages:
            ready = len(frames_nHWC)
            if not ready:
                yield Shown(note_html(note, done=False))
                continue
            if original_nHWC is not None:
                frames_nHWC = np.concatenate([original_nHWC[:ready], frames_nHWC], axis=2)
            video = gr.skip()
            if fraction >= 2 * played or fraction == 1:
                path = Path(folder) / f"{fraction:.4f}.mp4"
                video, played = write_video(path, frames_nHWC, fps), fraction
            done = fraction == 1
            yield Shown(note_html(note, done, fraction), video, sheet(frames_nHWC, total))


def sheet(frames_nHWC: np.ndarray, total: int) -> np.ndarray:
    """One picture of at most 16 of `total` frames, grey after the first n: uint8 [H', W', C]."""
    height, width = frames_nHWC.shape[1:3]
    columns, most = (max(1, number * height // width) for number in (_SHEET_COLUMNS, _SHEET_FRAMES))
    count = min(total, columns if total < most else most)
    chosen = np.linspace(0, total - 1, count).round().astype(int)
    ready = chosen[chosen < len(frames_nHWC)]
    cells = np.full((count, *frames_nHWC.shape[1:]), NOT_YET, np.uint8)
    cells[: len(ready)] = frames_nHWC[ready]
    cells = media.enlarge(cells, max(1, _SHEET_FRAME_SIZE // height))
    return media.tile_videos(cells[:, None], columns=columns)[0]


def write_video(path: Path, frames_nHWC: np.ndarray, fps: float) -> str:
    """Writes frames, enlarged where they are small, and returns the path."""
    height, width = frames_nHWC.shape[1:3]
    scale = max(1, min(_VIDEO_SIZE // height, _VIDEO_WIDTH // width))
    media.write_mp4(path, media.enlarge(frames_nHWC, scale), fps)
    return str(path)


def note_html(note: str, done: bool, fraction: float = 0.0) -> str:
    """A sentence on the progress, with a bar until it is done; indeterminate at fraction 0."""
    value = f" value='{fraction:.3f}'" if fraction else ""
    bar = "" if done else f"<progress{value}></progress>"
    return f"<div class='stage'>{bar}<span>{html.escape(note)}</span></div>"
