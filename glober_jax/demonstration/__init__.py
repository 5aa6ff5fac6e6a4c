"""The local web page of `glober_jax.demo`; needs the package of requirements-demo.txt."""

import os

# Read when Gradio is imported: no telemetry.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
