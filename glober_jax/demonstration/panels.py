"""The four tabs of the page: their fields, and the work on the values in them."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from glober_jax.demonstration import components as ui
from glober_jax.demonstration import requests
from glober_jax.demonstration.requests import VideoRequest
from glober_jax.demonstration.session import Session, beside, read_clip
from glober_jax.errors import UserError

# In the browser, without a round trip to the server.
_ANY_SEED = "() => String(Math.floor(Math.random() * 2 ** 32))"

Values = tuple[Any, ...]


class Panel(NamedTuple):
    """A tab: `work` yields values of `outputs`, given changes of sampling and values of `inputs`.

    The first output is a note of `display`. `starts` are events that start the work, `stop` is the
    button that stops it.
    """

    work: Callable[..., Iterator[Values]]
    inputs: list[ui.Field]
    outputs: list[ui.Field]
    starts: list[Callable[..., Any]]
    stop: gr.Button


class First(NamedTuple):
    """The video that the page opens with."""

    request: VideoRequest
    shown: ui.Shown


def new_video(session: Session, first: First) -> Panel:
    """A video of a class or a text, and a seed."""

    def generate(changes: dict[str, Any], seed: Any, condition: Any) -> Iterator[Values]:
        request = VideoRequest(requests.seed_of(seed), condition, session.whole_clip, changes)
        for shown in ui.show(session.generate(request), session.fps):
            yield *shown, session.command(request)

    left, right = _columns(
        "The generator draws one global feature, and all frames of the video are decoded from it."
    )
    with left:
        inputs = ui.seed_and_condition(session)
        start, stop = _buttons("Make the video")
        another = gr.Button("With another seed")
    with right:
        outputs = ui.display("Video", first.shown)
        command = _command_line(session.command(first.request))
    drawn = another.click(
        None, None, inputs[0], js=_ANY_SEED, queue=False, api_visibility="private"
    )
    return Panel(generate, inputs, [*outputs, command], [start.click, drawn.then], stop)


def stretched(session: Session, first: First) -> Panel:
    """A whole clip, and another part, rate or length of it."""
    clip_frames, fps = session.experiment.clip.num_frames, session.fps

    def length(*values: Any) -> str:
        part = ui.read_part(values, clip_frames)
        return requests.describe(part, clip_frames / fps, fps, "the training videos")

    def stretch(
        changes: dict[str, Any], seed: Any, condition: Any, *values: Any
    ) -> Iterator[Values]:
        part = ui.read_part(values, clip_frames)
        request = VideoRequest(requests.seed_of(seed), condition, part, changes)
        whole = dataclasses.replace(request, part=session.whole_clip)
        first_note = ui.note_html("First the whole clip", done=False)
        for shown in ui.show(session.generate(whole), fps):
            yield first_note, shown.video, None, None, gr.skip()
        for shown in ui.show(session.generate(request), fps):
            yield shown.note, gr.skip(), shown.video, shown.sheet, session.command(request)

    left, right = _columns(
        "A global feature holds the whole clip: any part can be decoded, at any rate and length."
    )
    with left:
        video = ui.seed_and_condition(session)
        parts = ui.part_fields(start=0.25, end=0.75, rate=4)
        ui.length_line(length, parts)
        start, stop = _buttons("Make both videos")
    with right:
        note = gr.HTML(ui.Shown().note)
        with gr.Row():
            before = ui.player("The whole clip", first.shown.video)
            after = ui.player("Its part, at your rate")
        outputs = [note, before, after, ui.sheet_below(), _command_line()]
    return Panel(stretch, [*video, *parts], outputs, [start.click], stop)


def between_two(session: Session, first: First) -> Panel:
    """Videos on the way from one seed to another."""
    del first

    def go(changes: dict[str, Any], *values: Any) -> Iterator[Values]:
        *ends, count = values
        first, second = (
            VideoRequest(requests.seed_of(seed), condition, session.whole_clip, changes)
            for seed, condition in (ends[:2], ends[2:])
        )
        videos = session.between(first, second, requests.videos_of_way(count))
        yield from ui.show(videos, session.fps)

    left, right = _columns(
        "Global features can be mixed: these videos lie on the straight line from one to the other."
    )
    with left:
        one = ui.seed_and_condition(session, 0, " at the left")
        other = ui.seed_and_condition(session, 1, " at the right", choice=-1)
        count = gr.Slider(2, requests.MAX_BETWEEN, 5, step=1, label="Videos", buttons=[])
        start, stop = _buttons("Make the videos")
    with right:
        outputs = ui.display("From the left to the right, in equal steps", height=200)
    return Panel(go, [*one, *other, count], outputs, [start.click], stop)


def your_video(session: Session, first: First) -> Panel:
    """An uploaded video, or the first one, encoded and decoded."""
    fps, clip, networks = session.fps, session.experiment.clip, session.model.networks

    def length(begin: Any, seconds: Any, *values: Any) -> str:
        part = ui.read_part(values, clip.num_frames)
        _, seconds = requests.seconds_of_upload(begin, seconds)
        return requests.describe(part, seconds, fps, "your video")

    def redraw(
        changes: dict[str, Any], path: Any, begin: Any, seconds: Any, *values: Any
    ) -> Iterator[Values]:
        if path is None:
            raise UserError("There is no video yet: upload one")
        begin, seconds = requests.seconds_of_upload(begin, seconds)
        part = ui.read_part(values, clip.num_frames)
        original = read_clip(
            Path(path),
            begin=begin,
            seconds=seconds,
            num_frames=clip.num_frames,
            num_key_frames=networks.num_key_frames,
            size=networks.frame_size,
        )
        stages = session.redraw(original, part, changes, seed=0)
        yield from ui.show(stages, fps, beside(original, part.index_n))

    left, right = _columns(
        "The encoder turns your video into a global feature, and the decoder redraws it from that."
    )
    with left:
        label = "A short video: this one, or your own"
        video = gr.Video(first.shown.video, label=label, sources=["upload"], height=220)
        with gr.Row():
            limit = f"0 to {requests.MAX_BEGIN:g}"
            begin = gr.Number(0, label="From second", info=limit, min_width=120)
            limit, length_of_clip = f"up to {requests.MAX_SECONDS:g}", clip.num_frames / fps
            seconds = gr.Number(length_of_clip, label="Seconds", info=limit, min_width=120)
        parts = ui.part_fields()
        ui.length_line(length, [begin, seconds, *parts])
        start, stop = _buttons("Encode and redraw")
    with right:
        outputs = ui.display("Left: yours. Right: redrawn from its global feature")
    return Panel(redraw, [video, begin, seconds, *parts], outputs, [start.click], stop)


PANELS = {
    "New video": new_video,
    "Time": stretched,
    "Between two": between_two,
    "Your video": your_video,
}


def _columns(lead: str) -> tuple[gr.Column, gr.Column]:
    """A sentence, and below it columns for inputs and outputs."""
    gr.HTML(f"<p class='lead'>{lead}</p>")
    with gr.Row():
        return gr.Column(scale=2, min_width=320), gr.Column(scale=3, min_width=320)


def _buttons(label: str) -> tuple[gr.Button, gr.Button]:
    """Start and stop."""
    with gr.Row():
        start = gr.Button(label, variant="primary", scale=3, min_width=160)
        stop = gr.Button("Stop", scale=1, min_width=80)
    return start, stop


def _command_line(command: str | None = None) -> gr.Code:
    return gr.Code(
        command,
        label="The command that makes this video",
        interactive=False,
        lines=1,
        wrap_lines=True,
        show_line_numbers=False,
        buttons=["copy"],
    )
