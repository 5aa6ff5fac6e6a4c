"""Weights that come with the package, each beside its model card; no code of their networks."""

from pathlib import Path

CODECS = ("f4",)
MODELS = ("sky64",)
_FOLDER = Path(__file__).parent


def codec_file(name: str) -> Path:
    """The safetensors file of a frame codec: float16, under our parameter paths."""
    return _FOLDER / f"{name}.safetensors"


def model_file(name: str) -> Path:
    """The safetensors file of a whole model; see `training/packaged_model.py`."""
    return _FOLDER / f"{name}.safetensors"
