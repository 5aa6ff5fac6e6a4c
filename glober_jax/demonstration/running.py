"""Buttons that start and stop the work of a tab, and what becomes of its mistakes."""

import contextlib
import html
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gradio as gr

from glober_jax.demonstration.display import NOTHING_YET, note_html
from glober_jax.demonstration.fields import Field, read_sampling
from glober_jax.demonstration.studio import Studio
from glober_jax.errors import UserError

Values = tuple[Any, ...]


class Panel(NamedTuple):
    """What a tab does.

    Attributes:
      work: (changes of sampling, values of `inputs`) -> values of `outputs`, over and over.
      inputs, outputs: fields; the first output is a `Display`'s note.
      starts: events that start it.
      stop: what stops it.
    """

    work: Callable[..., Iterator[Values]]
    inputs: list[Field]
    outputs: list[Field]
    starts: list[Callable[..., Any]]
    stop: gr.Button


def connect(panel: Panel, studio: Studio, sampling: dict[str, Field], tab: gr.Tab) -> None:
    """Lets a tab start and stop its work, of which there is one at a time on the whole page.

    A tab that shows nothing yet starts by itself when it is opened. `UserError`s become messages on
    the page, and leave nothing in the server's log.
    """
    count = len(panel.inputs)
    # Gradio empties what a generator without any value should have filled.
    unchanged = (gr.skip(),) * len(panel.outputs)

    def work(*values: Any) -> Iterator[Values]:
        try:
            changes = read_sampling(studio, values[count:], sampling)
            # Closed at once where somebody stops it.
            with contextlib.closing(panel.work(changes, *values[:count])) as results:
                yield from results
        except UserError as error:
            sentence = str(error)[0].upper() + str(error)[1:]
            # Gradio shows it as HTML, and it may quote what somebody typed.
            gr.Warning(html.escape(sentence, quote=False), title="Please change something")
            yield unchanged

    def work_once(note: str, *values: Any) -> Iterator[Values]:
        yield from work(*values) if note == NOTHING_YET else (unchanged,)

    inputs, note = [*panel.inputs, *sampling.values()], panel.outputs[0]
    shared: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    queued = shared | {"concurrency_limit": 1, "concurrency_id": "model"}
    running = [
        *(start(work, inputs, panel.outputs, **queued) for start in panel.starts),
        tab.select(work_once, [note, *inputs], panel.outputs, **queued),
    ]
    panel.stop.click(
        lambda: note_html("Stopped", done=True), None, note, cancels=running, queue=False, **shared
    )
