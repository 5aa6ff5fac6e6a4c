"""Embeds captions with the text model of a CLIP checkpoint on disk.

Needs `transformers` and PyTorch; runs on the CPU in float32. Dimension key: N captions, L tokens, E
width of a token's embedding.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glober_jax.errors import UserError

_BATCH = 32


class ClipTextEncoder:
    """Embeds captions as Stable Diffusion 1 does: [77, 768] with CLIP ViT-L/14.

    The last hidden state after the final layer norm, of captions cut or padded to the checkpoint's
    L positions. `length`, `width` are L and E; `digest` is 16 hex digits of the parameters.
    """

    def __init__(self, folder: Path) -> None:
        """Loads the safetensors files of a folder in the format of transformers.

        Raises `UserError` without transformers, or where `folder` holds no CLIP text model.
        """
        transformers = _import_transformers()
        try:
            _check_is_clip(folder)
            self._tokenizer = transformers.CLIPTokenizer.from_pretrained(
                folder, local_files_only=True
            )
            model, report = transformers.CLIPTextModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            # Otherwise they stay random.
            if missing := sorted(report["missing_keys"]):
                raise ValueError(f"its weights lack {missing[0]} and {len(missing) - 1} more")
        # The library raises many types, all about these files.
        except Exception as error:
            raise UserError(
                f"--clip={folder} is no CLIP checkpoint in the format of transformers: "
                f"{str(error).strip().splitlines()[0]}; give a folder such as a copy of "
                "openai/clip-vit-large-patch14, with config.json, the tokenizer's files and "
                "model.safetensors"
            ) from error
        self._model = model.float().eval()
        self.length = model.config.max_position_embeddings
        self.width = model.config.hidden_size
        self.digest = _digest(self._model)

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        """float16 [N, L, E]."""
        import torch

        tokens = self._tokenizer(
            list(captions),
            padding="max_length",
            max_length=self.length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        with torch.inference_mode():
            states = [self._model(rows).last_hidden_state for rows in tokens.split(_BATCH)]
        return torch.cat(states).numpy().astype(np.float16)


def _import_transformers() -> Any:
    # Nothing is downloaded.
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise UserError(
            f"--clip needs transformers and PyTorch, and {error.name} is not installed: "
            "pip install transformers torch"
        ) from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _check_is_clip(folder: Path) -> None:
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError("it has no config.json that names a model") from error
    if kind not in ("clip", "clip_text_model"):
        raise ValueError(f"its config.json describes a model of type {kind}")
    # Otherwise the tokenizer would have an empty vocabulary.
    if not any((folder / name).exists() for name in ("tokenizer.json", "vocab.json")):
        raise ValueError("it has neither tokenizer.json nor vocab.json")


def _digest(model: Any) -> str:
    digest = hashlib.sha256()
    parameters = {name.removeprefix("text_model."): p for name, p in model.named_parameters()}
    for name in sorted(parameters):
        digest.update(name.encode())
        digest.update(parameters[name].detach().numpy().tobytes())
    return digest.hexdigest()[:16]
