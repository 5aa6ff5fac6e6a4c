"""A local web page to play with a trained model.

    python -m pip install -r requirements-demo.txt
    python -m glober_jax.demo
    python -m glober_jax.demo --workdir=runs/quickstart

It makes new videos, other parts, rates and lengths of them, interpolates between two, and redraws
uploaded ones. It is served to this machine only; --host=0.0.0.0 serves it to the network, without a
password.
"""

from collections.abc import Sequence

from absl import flags
from etils import epath

from glober_jax import cli
from glober_jax.optional_dependencies import require

_WORKDIR = flags.DEFINE_string(
    "workdir",
    "builtin:sky64",
    "A workdir that glober_jax.main trained, or a model that comes with the package",
)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; this machine's own")
_PORT = flags.DEFINE_integer("port", 7860, "Port to listen on", lower_bound=1, upper_bound=65535)
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint", "newest", ["newest", "best"], "Of the generator; best is by FVD"
)


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    require("gradio", "gradio", "the demo", "requirements-demo.txt")
    # Imported here because Gradio is optional.
    from glober_jax.demonstration import page
    from glober_jax.demonstration.session import open_session

    session = open_session(epath.Path(_WORKDIR.value), _CHECKPOINT.value)
    page.serve(session, _HOST.value, _PORT.value)


if __name__ == "__main__":
    cli.run(main)
