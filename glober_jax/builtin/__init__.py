"""Weights that come with the package, each beside its model card; no code of their networks."""

from pathlib import Path

PREFIX = "builtin:"
CODECS = ("f4",)
MODELS = ("sky64",)
_FOLDER = Path(__file__).parent


def weights_file(name: str) -> Path:
    """The safetensors file of a codec, float16 under our parameter paths, or of a whole model.

    See `training/restore.py` and `training/packaged_model.py`.
    """
    return _FOLDER / f"{name}.safetensors"
