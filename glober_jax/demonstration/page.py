"""The page: its two tabs in Gradio, what their buttons do, and serving it.

Nothing on it comes from another host, fonts included, so it works offline.
"""

import contextlib
import html
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from glober_jax.demonstration.display import Display, note_html, show
from glober_jax.demonstration.fields import (
    Field,
    condition_field,
    length_line,
    part_fields,
    read_part,
    read_sampling,
    sampling_fields,
)
from glober_jax.demonstration.requests import (
    MAX_BEGIN,
    MAX_SECONDS,
    VideoRequest,
    describe,
    sample_command,
    seconds_of_upload,
    seed_of,
)
from glober_jax.demonstration.studio import Studio
from glober_jax.demonstration.upload import beside, read_clip
from glober_jax.errors import UserError

_MAX_WAITING = 16
_MAX_UPLOAD = "100mb"
# Gradio's own fonts would be fetched from Google.
_THEME = gr.themes.Default(
    primary_hue="blue",
    neutral_hue="slate",
    font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
    font_mono=["ui-monospace", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"],
)


def serve(studio: Studio, host: str, port: int) -> None:
    """Serves the page until somebody presses Ctrl-C. Raises `UserError` where the port is taken."""
    page = build(studio)
    page.queue(max_size=_MAX_WAITING)
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
            theme=_THEME,
            css_paths=Path(__file__).with_name("style.css"),
        )
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port}, which may be in use: choose another --port or --host"
        ) from error
    print(f"The demo is at http://{host}:{port} (Ctrl-C ends it)", flush=True)
    try:
        threading.Event().wait()
    finally:
        page.close(verbose=False)


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
    fps, clip_frames = studio.experiment.sampling.fps, studio.experiment.clip.num_frames

    def tell_length(*values: Any) -> str:
        part = read_part(values, clip_frames)
        return describe(part, clip_frames / fps, fps, "the training videos")

    def generate(seed: Any, condition: Any, *values: Any) -> Iterator[tuple[Any, ...]]:
        request = VideoRequest(
            seed_of(seed),
            condition,
            read_part(values[: len(parts)], clip_frames),
            read_sampling(studio, values[len(parts) :], sampling),
        )
        written = sample_command(request, studio.kind, str(studio.workdir), studio.checkpoint)
        for shown in show(studio.generate(request), fps):
            yield (*shown, written)

    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            with gr.Row():
                # As text: a browser rounds numbers to 53 bits.
                seed = gr.Textbox("0", label="Seed", max_lines=1, min_width=120, elem_id="seed")
                condition = condition_field(studio)
            parts = part_fields()
            length_line(tell_length, parts)
            sampling = sampling_fields(studio, generates=True)
            buttons = _buttons("Generate")
        with gr.Column(scale=3, min_width=320):
            display = Display.make("Video")
            command = gr.Code(
                label="The command that makes this video",
                interactive=False,
                lines=1,
                wrap_lines=True,
                show_line_numbers=False,
                buttons=["copy"],
            )
    inputs = [seed, condition, *parts, *sampling.values()]
    _connect(buttons, generate, inputs, [*display, command])


def _your_video(studio: Studio) -> None:
    fps, clip = studio.experiment.sampling.fps, studio.experiment.clip
    networks = studio.model.networks

    def tell_length(begin: Any, seconds: Any, *values: Any) -> str:
        part = read_part(values, clip.num_frames)
        return describe(part, seconds_of_upload(begin, seconds)[1], fps, "your video")

    def redraw(path: Any, begin: Any, seconds: Any, *values: Any) -> Iterator[tuple[Any, ...]]:
        if path is None:
            raise UserError("There is no video yet: upload one")
        begin, seconds = seconds_of_upload(begin, seconds)
        part = read_part(values[: len(parts)], clip.num_frames)
        changes = read_sampling(studio, values[len(parts) :], sampling)
        original = read_clip(
            Path(path),
            begin=begin,
            seconds=seconds,
            num_frames=clip.num_frames,
            num_key_frames=networks.num_key_frames,
            size=networks.frame_size,
        )
        stages = studio.redraw(original, part, changes, seed=0)
        yield from show(stages, fps, beside(original, part.index_n))

    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            video = gr.Video(label="A short video", sources=["upload"], height=220)
            with gr.Row():
                begin = gr.Number(0, label="From second", info=f"0 to {MAX_BEGIN:g}", min_width=120)
                seconds = gr.Number(
                    clip.num_frames / fps,
                    label="Seconds",
                    info=f"up to {MAX_SECONDS:g}",
                    min_width=120,
                )
            parts = part_fields()
            length_line(tell_length, [begin, seconds, *parts])
            sampling = sampling_fields(studio, generates=False)
            buttons = _buttons("Encode and redraw")
        with gr.Column(scale=3, min_width=320):
            display = Display.make("Left: yours. Right: redrawn from its global feature")
    inputs = [video, begin, seconds, *parts, *sampling.values()]
    _connect(buttons, redraw, inputs, list(display))


def _buttons(label: str) -> tuple[gr.Button, gr.Button]:
    with gr.Row():
        start = gr.Button(label, variant="primary", scale=3, min_width=160)
        stop = gr.Button("Stop", scale=1, min_width=80)
    return start, stop


def _connect(
    buttons: tuple[gr.Button, gr.Button],
    work: Callable[..., Iterator[tuple[Any, ...]]],
    inputs: list[Field],
    outputs: list[Field],
) -> None:
    """Lets the buttons start and stop `work`, of which there is one at a time on the whole page.

    The first of `outputs` is a `Display`'s note. `UserError`s become messages on the page, and
    leave nothing in the server's log.
    """

    def politely(*values: Any) -> Iterator[tuple[Any, ...]]:
        try:
            # Closed at once where somebody stops it.
            with contextlib.closing(work(*values)) as results:
                yield from results
        except UserError as error:
            sentence = str(error)[0].upper() + str(error)[1:]
            # Gradio shows it as HTML, and it may quote what somebody typed.
            gr.Warning(html.escape(sentence, quote=False), title="Please change something")

    start, stop = buttons
    working = start.click(
        politely,
        inputs,
        outputs,
        show_progress="hidden",
        concurrency_limit=1,
        concurrency_id="model",
        api_visibility="private",
    )
    stop.click(
        lambda: note_html("Stopped", done=True),
        None,
        outputs[0],
        cancels=[working],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )


def _facts(studio: Studio) -> str:
    size, clip = studio.model.networks.frame_size, studio.experiment.clip
    steps = ", ".join(f"{name} {count}" for name, count in studio.model.trained_steps.items())
    return (
        f"{studio.workdir}: frames of {size}x{size} pixels, trained on clips of "
        f"{clip.num_frames} frames (steps: {steps})"
    )
