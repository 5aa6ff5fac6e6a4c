"""Fields shared by the tabs of the page."""

import html
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from glober_jax.demonstration.requests import MAX_FRAMES, MAX_SCALE, Part, part_of_clip
from glober_jax.demonstration.session import Session
from glober_jax.diffusion.samplers import SPACINGS
from glober_jax.errors import UserError

Field = gr.components.Component

_RATE, _COUNT = "Slow motion", "Number of frames"
# Of events that only update fields: they neither queue nor show progress.
_QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


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
