"""The page: four tabs in Gradio around one model, and serving it.

It opens with a video that was made before, once for everybody. Nothing on it comes from another
host, fonts included, so it works offline.
"""

import html
import tempfile
import threading
from pathlib import Path

import gradio as gr

from glober_jax.demonstration import panels
from glober_jax.demonstration.display import Shown, note_html, sheet, write_video
from glober_jax.demonstration.fields import follow, sampling_fields
from glober_jax.demonstration.running import connect
from glober_jax.demonstration.studio import Studio
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

# Browsers play by themselves only what cannot make a sound.
_PLAY_MUTED = """<script>
document.addEventListener("loadedmetadata", ({target}) => {
  if (target.autoplay) { target.muted = true; target.play() }
}, true)
</script>"""


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


def build(studio: Studio) -> gr.Blocks:
    """The page on a model; makes the first video, which everybody sees."""
    request = panels.first_request(studio)
    *_, made = studio.generate(request)
    with (
        tempfile.TemporaryDirectory() as folder,
        gr.Blocks(title="GLOBER", analytics_enabled=False, delete_cache=(600, 3600)) as page,
    ):
        # Gradio keeps a copy.
        video = write_video(Path(folder) / "first.mp4", made.frames, studio.experiment.sampling.fps)
        note = note_html("The first video, made as the server started", done=True)
        first = panels.First(request, Shown(note, video, sheet(made.frames, made.total)))
        gr.HTML(f"<h1>GLOBER</h1><p class='model-facts'>{html.escape(_facts(studio))}</p>")
        with gr.Tabs(overflow_behavior="wrap"):
            with gr.Tab("New video") as new_tab:
                new = panels.new_video(studio, first)
            with gr.Tab("Time") as time_tab:
                time = panels.stretched(studio, first)
            with gr.Tab("Between two") as between_tab:
                between = panels.between_two(studio)
            with gr.Tab("Your video") as your_tab:
                yours = panels.your_video(studio, first)
        sampling = sampling_fields(studio)
        follow(time.inputs[:2], new.inputs[:2])
        follow(between.inputs[:2], new.inputs[:2])
        for panel, tab in (
            (new, new_tab),
            (time, time_tab),
            (between, between_tab),
            (yours, your_tab),
        ):
            connect(panel, studio, sampling, tab)
    return page


def _facts(studio: Studio) -> str:
    size, clip = studio.model.networks.frame_size, studio.experiment.clip
    steps = ", ".join(f"{name} {count}" for name, count in studio.model.trained_steps.items())
    return (
        f"{studio.workdir}: {size}x{size} pixels, trained on clips of {clip.num_frames} frames "
        f"(steps: {steps})"
    )
