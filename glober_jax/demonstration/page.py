"""The page: its layout in Gradio, and what its buttons do.

Nothing on it comes from another host, fonts included, so it works offline.

Dimension key: n frames so far, H, W frame size, C = 3 colours.
"""

import contextlib
import html
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np

from glober_jax import media
from glober_jax.demonstration.requests import (
    MAX_BEGIN,
    MAX_FRAMES,
    MAX_SCALE,
    MAX_SECONDS,
    Part,
    VideoRequest,
    describe,
    part_of_clip,
    sample_command,
    sampling_changes,
    seconds_of_upload,
    seed_of,
)
from glober_jax.demonstration.studio import Stage, Studio
from glober_jax.demonstration.upload import beside, read_clip
from glober_jax.diffusion.samplers import SPACINGS
from glober_jax.errors import UserError

_MAX_WAITING = 16
_MAX_UPLOAD = "100mb"
# Small frames are enlarged to about these many pixels: the video, a frame of the sheet.
_VIDEO_SIZE, _SHEET_FRAME_SIZE = 320, 128
_SHEET_COLUMNS, _SHEET_FRAMES = 8, 16
_NOT_YET = 128
_RATE, _COUNT = "slow motion", "number of frames"
# Gradio's own fonts would be fetched from Google.
_FONTS = {
    "font": ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
    "font_mono": ["ui-monospace", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"],
}


def serve(studio: Studio, host: str, port: int) -> None:
    """Serves the page until somebody presses Ctrl-C. Raises `UserError` where the port is taken."""
    page = build(studio)
    # One request is worked on at a time, whichever button it came from.
    page.queue(max_size=_MAX_WAITING, default_concurrency_limit=1)
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            run_history=False,
            max_file_size=_MAX_UPLOAD,
            footer_links=["settings"],
            theme=gr.themes.Default(primary_hue="blue", neutral_hue="slate", **_FONTS),
            css_paths=Path(__file__).with_name("style.css"),
        )
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port}: {error}; choose another --port or --host"
        ) from error
    print(f"The demo is at http://{host}:{port} (Ctrl-C ends it)", flush=True)
    page.block_thread()


def build(studio: Studio) -> gr.Blocks:
    """The page on a model."""
    with gr.Blocks(title="GLOBER", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.HTML(f"<h1>GLOBER</h1><p class='model-facts'>{html.escape(_facts(studio))}</p>")
        with gr.Tab("New video"):
            _new_video(studio)
        with gr.Tab("Your video"):
            _your_video(studio)
    return page


def _new_video(studio: Studio) -> None:
    fps = studio.experiment.sampling.fps
    clip_frames = studio.experiment.clip.num_frames
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            with gr.Row():
                seed = gr.Number(0, label="Seed", precision=0, min_width=120)
                condition = _condition(studio)
            parts = _part_fields()
            length = gr.HTML()
            sampling = _sampling_fields(studio, with_condition=studio.kind != "none")
            with gr.Row():
                start = gr.Button("Generate", variant="primary")
                stop = gr.Button("Stop")
        with gr.Column(scale=3, min_width=320):
            shown = _Shown.make("Video")
            command = gr.Code(
                label="The command that makes this video",
                language="shell",
                interactive=False,
                lines=1,
                wrap_lines=True,
            )

    def length_line(*fields: Any) -> str:
        return _length_line(
            lambda: describe(
                _part(fields, clip_frames), clip_frames / fps, fps, "the training videos"
            )
        )

    def generate(seed: Any, condition: Any, *fields: Any) -> Iterator[tuple[Any, ...]]:
        with _politely():
            request = VideoRequest(
                seed_of(seed),
                condition,
                _part(fields[: len(parts)], clip_frames),
                _sampling(studio, fields[len(parts) :], sampling),
            )
            written = sample_command(request, studio.kind, str(studio.workdir), studio.checkpoint)
            for outputs in _show(studio.generate(request), fps):
                yield (*outputs, written)

    _tell_length(length_line, parts, length)
    event = start.click(
        generate,
        [seed, condition, *parts, *sampling.values()],
        [*shown, command],
        show_progress="hidden",
        concurrency_id="model",
        api_visibility="private",
    )
    stop.click(None, cancels=[event], api_visibility="private")


def _your_video(studio: Studio) -> None:
    fps = studio.experiment.sampling.fps
    clip, networks = studio.experiment.clip, studio.model.networks
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            video = gr.Video(label="A short video", sources=["upload"], height=220)
            with gr.Row():
                begin = gr.Number(
                    0, label="Use it from second", info=f"up to {MAX_BEGIN:g}", min_width=120
                )
                seconds = gr.Number(
                    clip.num_frames / fps,
                    label="for so many seconds",
                    info=f"up to {MAX_SECONDS:g}",
                    min_width=120,
                )
            parts = _part_fields()
            length = gr.HTML()
            sampling = _sampling_fields(studio, with_condition=False)
            with gr.Row():
                start = gr.Button("Encode and redraw", variant="primary")
                stop = gr.Button("Stop")
        with gr.Column(scale=3, min_width=320):
            shown = _Shown.make("Yours (left) and redrawn from its global feature (right)")

    def length_line(begin: Any, seconds: Any, *fields: Any) -> str:
        return _length_line(
            lambda: describe(
                _part(fields, clip.num_frames),
                seconds_of_upload(begin, seconds)[1],
                fps,
                "your video",
            )
        )

    def redraw(path: Any, begin: Any, seconds: Any, *fields: Any) -> Iterator[tuple[Any, ...]]:
        with _politely():
            if path is None:
                raise UserError("There is no video yet: upload one")
            begin, seconds = seconds_of_upload(begin, seconds)
            part = _part(fields[: len(parts)], clip.num_frames)
            changes = _sampling(studio, fields[len(parts) :], sampling)
            original = read_clip(
                Path(path),
                begin=begin,
                seconds=seconds,
                num_frames=clip.num_frames,
                num_key_frames=networks.num_key_frames,
                size=networks.frame_size,
            )
            stages = studio.redraw(original, part, changes, seed=0)
            yield from _show(stages, fps, beside(original, part.index_n))

    _tell_length(length_line, [begin, seconds, *parts], length)
    event = start.click(
        redraw,
        [video, begin, seconds, *parts, *sampling.values()],
        list(shown),
        show_progress="hidden",
        concurrency_id="model",
        api_visibility="private",
    )
    stop.click(None, cancels=[event], api_visibility="private")


class _Shown(NamedTuple):
    """Where results appear."""

    note: gr.HTML
    video: gr.Video
    sheet: gr.Image

    @classmethod
    def make(cls, label: str) -> "_Shown":
        return cls(
            gr.HTML(_note_html("Nothing was made yet", None)),
            gr.Video(label=label, autoplay=True, loop=True, interactive=False, height=400),
            gr.Image(label="Its frames", interactive=False, format="png"),
        )


def _show(
    stages: Iterator[Stage], fps: float, original_nHWC: np.ndarray | None = None
) -> Iterator[tuple[Any, Any, Any]]:
    """What `_Shown` displays at each stage: results beside the original's frames, if there are."""
    played = 0
    with tempfile.TemporaryDirectory() as folder:
        for note, frames, total in stages:
            ready, video = len(frames), gr.skip()
            if original_nHWC is not None:
                frames = np.concatenate([original_nHWC[:ready], frames], axis=2)
            # Starting again at every chunk would be restless, and cost as much as decoding.
            if ready >= max(2 * played, 1) or ready == total:
                path, played = Path(folder) / f"{ready}.mp4", ready
                scale = max(1, _VIDEO_SIZE // frames.shape[1])
                path.write_bytes(media.encode_mp4(media.enlarge(frames, scale), fps))
                video = str(path)
            sheet = _sheet(frames, total) if ready else None
            yield _note_html(note, ready / total), video if ready else None, sheet


def _sheet(frames_nHWC: np.ndarray, total: int) -> np.ndarray:
    """One picture of all frames, or of some where they are many; grey where none is made yet."""
    count = min(total, _SHEET_COLUMNS if total < _SHEET_FRAMES else _SHEET_FRAMES)
    chosen = np.linspace(0, total - 1, count).round().astype(int)
    ready = chosen[chosen < len(frames_nHWC)]
    cells = np.full((count, *frames_nHWC.shape[1:]), _NOT_YET, np.uint8)
    cells[: len(ready)] = frames_nHWC[ready]
    cells = media.enlarge(cells, max(1, _SHEET_FRAME_SIZE // frames_nHWC.shape[1]))
    return media.tile_videos(cells[:, None], columns=min(count, _SHEET_COLUMNS))[0]


def _condition(studio: Studio) -> gr.Dropdown:
    """Classes or captions to choose from; hidden for a model without either."""
    if studio.kind == "text":
        return gr.Dropdown(list(studio.captions), label="Text", scale=3)
    classes = list(studio.classes)
    # What is typed and is no class comes back as a sentence; Gradio's own check prints a trace.
    return gr.Dropdown(
        classes,
        value=classes[0] if classes else None,
        label="Class",
        allow_custom_value=True,
        visible=bool(classes),
        min_width=160,
    )


def _part_fields() -> list[gr.components.Component]:
    """Fields in the order that `_part` takes."""
    with gr.Row():
        start = gr.Slider(0, 1, 0, step=0.01, label="Start", info="0: the clip's first frame")
        end = gr.Slider(0, 1, 1, step=0.01, label="End", info="1: the clip's end")
    by = gr.Radio([_RATE, _COUNT], value=_RATE, label="Length by")
    rate = gr.Slider(0.25, 16, 1, step=0.25, label="Slow motion", info="2: at half the speed")
    frames = gr.Number(32, label="Frames", info=f"1 to {MAX_FRAMES}", precision=0, visible=False)
    by.change(
        lambda by: (gr.update(visible=by == _RATE), gr.update(visible=by == _COUNT)),
        by,
        [rate, frames],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    return [start, end, by, rate, frames]


def _part(fields: tuple[Any, ...], clip_frames: int) -> Part:
    start, end, by, rate, frames = fields
    length = {"rate": rate} if by == _RATE else {"frames": frames}
    return part_of_clip(start, end, clip_frames=clip_frames, **length)


def _sampling_fields(studio: Studio, with_condition: bool) -> dict[str, gr.components.Component]:
    """Fields of `SamplingOptions` by name, set as the config says."""
    options = studio.experiment.sampling
    scales = {"video_scale": "Guidance to the video", "domain_scale": "Guidance to the domain"}
    if with_condition:
        scales = {"condition_scale": f"Guidance to the {studio.kind}"} | scales
    with gr.Accordion("Sampling", open=False):
        fields = {
            "sampler": gr.Radio(list(SPACINGS), value=options.sampler, label="Sampler"),
            "steps": gr.Slider(
                1, studio.max_steps, min(options.steps, studio.max_steps), step=1, label="Steps"
            ),
        }
        for name, label in scales.items():
            value = getattr(options, name)
            fields[name] = gr.Slider(0, MAX_SCALE, value, step=0.25, label=label)
    return fields


def _sampling(
    studio: Studio, values: tuple[Any, ...], fields: dict[str, gr.components.Component]
) -> dict[str, Any]:
    given = dict(zip(fields, values, strict=True))
    return sampling_changes(max_steps=studio.max_steps, **given)


def _tell_length(
    length_line: Callable[..., str], fields: list[gr.components.Component], line: gr.HTML
) -> None:
    """Keeps a line below the fields that says what they add up to."""
    gr.on(
        [field.change for field in fields],
        length_line,
        fields,
        line,
        queue=False,
        show_progress="hidden",
        trigger_mode="always_last",
        api_visibility="private",
    )
    line.value = length_line(*(field.value for field in fields))


def _length_line(describe_part: Callable[[], str]) -> str:
    try:
        return f"<div class='length-line'>{html.escape(describe_part())}</div>"
    except UserError as error:
        return f"<div class='length-line wrong'>{html.escape(str(error))}</div>"


def _note_html(note: str, fraction: float | None) -> str:
    bar = "" if fraction in (None, 1) else f"<progress value='{fraction:.3f}'></progress>"
    return f"<div class='stage'>{bar}<span>{html.escape(note)}</span></div>"


@contextlib.contextmanager
def _politely() -> Iterator[None]:
    """Turns a `UserError` into a message on the page, and nothing in the server's log."""
    try:
        yield
    except UserError as error:
        sentence = str(error)
        sentence = sentence[0].upper() + sentence[1:]
        raise gr.Error(sentence, title="That does not work", print_exception=False) from error


def _facts(studio: Studio) -> str:
    size, clip = studio.model.networks.frame_size, studio.experiment.clip
    steps = ", ".join(f"{name} {count}" for name, count in studio.model.trained_steps.items())
    return (
        f"{studio.workdir}: frames of {size}x{size} pixels, trained on clips of "
        f"{clip.num_frames} frames (steps: {steps})"
    )
