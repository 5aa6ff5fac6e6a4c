"""A local web page to play with a trained model; needs the package of requirements-demo.txt."""

import os

# Gradio reads these when it is imported: nothing on the page or the server calls home.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
