"""The page: four Gradio tabs around one model. It works offline, with fonts of the system."""

import contextlib
import html
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from glober_jax.demonstration import components as ui
from glober_jax.demonstration import panels
from glober_jax.demonstration.panels import Panel, Values
from glober_jax.demonstration.requests import VideoRequest, sampling_changes
from glober_jax.demonstration.session import Session
from glober_jax.errors import UserError

_MAX_WAITING = 16
_MAX_UPLOAD = "100mb"
# Gradio's default fonts are fetched from Google.
_THEME = gr.themes.Default(
    primary_hue="blue",
    neutral_hue="slate",
    font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
    font_mono=["ui-monospace", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"],
)

# Browsers only autoplay muted videos.
_PLAY_MUTED = """<script>
document.addEventListener("loadedmetadata", ({target}) => {
  if (target.autoplay) { target.muted = true; target.play() }
}, true)
</script>"""


def serve(session: Session, host: str, port: int) -> None:
    """Serves the page until Ctrl-C. Raises `UserError` where the port is taken."""
    page = build(session)
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
            head=_PLAY_MUTED,
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


def build(session: Session) -> gr.Blocks:
    """The page on a model, with a first video that is generated here."""
    condition = next(iter(session.conditions), None)
    request = VideoRequest(0, condition, session.whole_clip, {})
    *_, made = session.generate(request)
    size, steps = session.model.networks.frame_size, session.model.trained_steps
    facts = (
        f"{session.workdir}: {size}x{size} pixels, trained on clips of "
        f"{session.experiment.clip.num_frames} frames "
        f"(steps: {', '.join(f'{name} {count}' for name, count in steps.items())})"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        gr.Blocks(title="GLOBER", analytics_enabled=False, delete_cache=(600, 3600)) as page,
    ):
        # Gradio copies the file.
        video = ui.write_video(Path(folder) / "first.mp4", made.frames, session.fps)
        note = ui.note_html("The first video, made as the server started", done=True)
        first = panels.First(request, ui.Shown(note, video, ui.sheet(made.frames, made.total)))
        gr.HTML(f"<h1>GLOBER</h1><p class='model-facts'>{html.escape(facts)}</p>")
        tabs = []
        with gr.Tabs(overflow_behavior="wrap"):
            for title, make in panels.PANELS.items():
                with gr.Tab(title) as tab:
                    tabs.append((make(session, first), tab))
        sampling = ui.sampling_fields(session)
        new, time, between, _ = (panel for panel, _ in tabs)
        ui.follow(time.inputs[:2], new.inputs[:2])
        ui.follow(between.inputs[:2], new.inputs[:2])
        for panel, tab in tabs:
            _connect(panel, session, sampling, tab)
    return page


def _connect(panel: Panel, session: Session, sampling: dict[str, ui.Field], tab: gr.Tab) -> None:
    """Connects a tab's buttons with its work, of which one runs at a time.

    A tab without results starts when it is opened. `UserError`s become messages on the page.
    """
    count = len(panel.inputs)
    # Gradio clears the outputs of a generator that yields nothing.
    unchanged = (gr.skip(),) * len(panel.outputs)

    def work(*values: Any) -> Iterator[Values]:
        try:
            given = dict(zip(sampling, values[count:], strict=True))
            changes = sampling_changes(max_steps=session.max_steps, **given)
            # Closed at once when it is stopped.
            with contextlib.closing(panel.work(changes, *values[:count])) as results:
                yield from results
        except UserError as error:
            sentence = str(error)[0].upper() + str(error)[1:]
            # Gradio shows it as HTML, and it may quote an input.
            gr.Warning(html.escape(sentence, quote=False), title="Please change something")
            yield unchanged

    def work_once(note: str, *values: Any) -> Iterator[Values]:
        yield from work(*values) if note == ui.NOTHING_YET else (unchanged,)

    inputs, note = [*panel.inputs, *sampling.values()], panel.outputs[0]
    shared: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    queued = shared | {"concurrency_limit": 1, "concurrency_id": "model"}
    running = [
        *(start(work, inputs, panel.outputs, **queued) for start in panel.starts),
        tab.select(work_once, [note, *inputs], panel.outputs, **queued),
    ]
    stopped = ui.note_html("Stopped", done=True)
    panel.stop.click(lambda: stopped, None, note, cancels=running, queue=False, **shared)
