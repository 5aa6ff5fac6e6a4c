"""The four tabs of the page: their fields, and the work on the values in them."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from glober_jax.demonstration.display import Shown, display, note_html, player, sheet_below, show
from glober_jax.demonstration.fields import Field, length_line, part_fields, read_part, who_fields
from glober_jax.demonstration.requests import (
    MAX_BEGIN,
    MAX_BETWEEN,
    MAX_SECONDS,
    Part,
    VideoRequest,
    describe,
    part_of_clip,
    sample_command,
    seconds_of_upload,
    seed_of,
    videos_of_way,
)
from glober_jax.demonstration.session import Session
from glober_jax.demonstration.upload import beside, read_clip
from glober_jax.errors import UserError

# In a browser, so that nobody waits for the server; also what a 32-bit generator could have drawn.
_ANY_SEED = "() => String(Math.floor(Math.random() * 2 ** 32))"


Values = tuple[Any, ...]


class Panel(NamedTuple):
    """The work of a tab.

    Attributes:
      work: (changes of sampling, values of `inputs`) -> values of `outputs`, over and over.
      inputs, outputs: fields; the first output is a note of `display`.
      starts: events that start it.
      stop: the button that stops it.
    """

    work: Callable[..., Iterator[Values]]
    inputs: list[Field]
    outputs: list[Field]
    starts: list[Callable[..., Any]]
    stop: gr.Button


class First(NamedTuple):
    """A video that everybody sees first: its request, and what it became."""

    request: VideoRequest
    shown: Shown


def first_request(session: Session) -> VideoRequest:
    """The video of the fields as the page opens."""
    condition = next(iter(session.conditions), None)
    return VideoRequest(0, condition, _whole_clip(session), {})


def new_video(session: Session, first: First) -> Panel:
    """A class or a text, and a seed."""

    def generate(changes: dict[str, Any], seed: Any, condition: Any) -> Iterator[Values]:
        request = VideoRequest(seed_of(seed), condition, _whole_clip(session), changes)
        for shown in show(session.generate(request), _fps(session)):
            yield *shown, _command(session, request)

    _lead(
        "The generator draws one global feature, and all frames of the video are decoded from it."
    )
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            who = who_fields(session)
            start, stop = _buttons("Make the video")
            another = gr.Button("With another seed")
        with gr.Column(scale=3, min_width=320):
            outputs = display("Video", first.shown)
            command = _command_line(_command(session, first.request))
    drawn = another.click(None, None, who[0], js=_ANY_SEED, queue=False, api_visibility="private")
    return Panel(generate, who, [*outputs, command], [start.click, drawn.then], stop)


def stretched(session: Session, first: First) -> Panel:
    """A video as it was trained, and another part, rate or length of the same one."""
    clip_frames, fps = session.experiment.clip.num_frames, _fps(session)

    def tell_length(*values: Any) -> str:
        part = read_part(values, clip_frames)
        return describe(part, clip_frames / fps, fps, "the training videos")

    def stretch(
        changes: dict[str, Any], seed: Any, condition: Any, *values: Any
    ) -> Iterator[Values]:
        part = read_part(values, clip_frames)
        request = VideoRequest(seed_of(seed), condition, part, changes)
        whole = dataclasses.replace(request, part=_whole_clip(session))
        for shown in show(session.generate(whole), fps):
            yield note_html("First the whole clip", done=False), shown.video, None, None, gr.skip()
        for shown in show(session.generate(request), fps):
            yield shown.note, gr.skip(), shown.video, shown.sheet, _command(session, request)

    _lead("A global feature holds the whole clip: any part can be decoded, at any rate and length.")
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            who = who_fields(session)
            parts = part_fields(start=0.25, end=0.75, rate=4)
            length_line(tell_length, parts)
            start, stop = _buttons("Make both videos")
        with gr.Column(scale=3, min_width=320):
            note = gr.HTML(Shown().note)
            with gr.Row():
                before = player("The whole clip", first.shown.video)
                after = player("Its part, at your rate")
            sheet = sheet_below()
            command = _command_line()
    return Panel(
        stretch, [*who, *parts], [note, before, after, sheet, command], [start.click], stop
    )


def between_two(session: Session, first: First) -> Panel:
    """Videos on the way from one seed to another; there is none at first."""
    del first

    def go(changes: dict[str, Any], *values: Any) -> Iterator[Values]:
        *ends, count = values
        first, second = (
            VideoRequest(seed_of(seed), condition, _whole_clip(session), changes)
            for seed, condition in (ends[:2], ends[2:])
        )
        yield from show(session.between(first, second, videos_of_way(count)), _fps(session))

    _lead(
        "Global features can be mixed: these videos lie on the straight line from one to the other."
    )
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            left = who_fields(session, 0, " at the left")
            right = who_fields(session, 1, " at the right", choice=-1)
            count = gr.Slider(2, MAX_BETWEEN, 5, step=1, label="Videos", buttons=[])
            start, stop = _buttons("Make the videos")
        with gr.Column(scale=3, min_width=320):
            outputs = display("From the left to the right, in equal steps", height=200)
    return Panel(go, [*left, *right, count], outputs, [start.click], stop)


def your_video(session: Session, first: First) -> Panel:
    """A video of somebody's own, or the first one, encoded and decoded."""
    fps, clip = _fps(session), session.experiment.clip
    networks = session.model.networks

    def tell_length(begin: Any, seconds: Any, *values: Any) -> str:
        part = read_part(values, clip.num_frames)
        return describe(part, seconds_of_upload(begin, seconds)[1], fps, "your video")

    def redraw(
        changes: dict[str, Any], path: Any, begin: Any, seconds: Any, *values: Any
    ) -> Iterator[Values]:
        if path is None:
            raise UserError("There is no video yet: upload one")
        begin, seconds = seconds_of_upload(begin, seconds)
        part = read_part(values, clip.num_frames)
        original = read_clip(
            Path(path),
            begin=begin,
            seconds=seconds,
            num_frames=clip.num_frames,
            num_key_frames=networks.num_key_frames,
            size=networks.frame_size,
        )
        stages = session.redraw(original, part, changes, seed=0)
        yield from show(stages, fps, beside(original, part.index_n))

    _lead(
        "The encoder turns your video into a global feature, and the decoder redraws it from that."
    )
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            video = gr.Video(
                first.shown.video,
                label="A short video: this one, or your own",
                sources=["upload"],
                height=220,
            )
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
            start, stop = _buttons("Encode and redraw")
        with gr.Column(scale=3, min_width=320):
            outputs = display("Left: yours. Right: redrawn from its global feature")
    return Panel(redraw, [video, begin, seconds, *parts], outputs, [start.click], stop)


PANELS = {
    "New video": new_video,
    "Time": stretched,
    "Between two": between_two,
    "Your video": your_video,
}


def _buttons(label: str) -> tuple[gr.Button, gr.Button]:
    """Start and stop."""
    with gr.Row():
        start = gr.Button(label, variant="primary", scale=3, min_width=160)
        stop = gr.Button("Stop", scale=1, min_width=80)
    return start, stop


def _lead(sentence: str) -> None:
    gr.HTML(f"<p class='lead'>{sentence}</p>")


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


def _command(session: Session, request: VideoRequest) -> str:
    return sample_command(request, session.kind, str(session.workdir), session.checkpoint)


def _whole_clip(session: Session) -> Part:
    return part_of_clip(0, 1, clip_frames=session.experiment.clip.num_frames, rate=1)


def _fps(session: Session) -> float:
    return session.experiment.sampling.fps
