"""A data set with captions, an encoder of them that needs no other software, and a tiny CLIP."""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.media_folders import VideoFolderOptions

CLIP_LENGTH, CLIP_WIDTH = 7, 8
CAPTIONS = {"calm": "a calm, blue sea", "rain": "rain on a roof", "snow": "snow, slowly"}


class RandomEncoder:
    """Embeds a caption as noise of its own: another caption, other noise."""

    length, width, digest = CLIP_LENGTH, CLIP_WIDTH, "random"

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        return np.stack([self._one(caption) for caption in captions]).astype(np.float16)

    def _one(self, caption: str) -> np.ndarray:
        rng = np.random.default_rng(zlib.crc32(caption.encode()))
        return rng.standard_normal((self.length, self.width))


def write_clips(folder: Path, names: Sequence[str], num_frames: int = 12) -> None:
    """A folder of frames `folder/name/clip` for each name."""
    rng = np.random.default_rng(0)
    for name in names:
        place = folder / name / "clip"
        place.mkdir(parents=True)
        for number in range(num_frames):
            frame = rng.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(frame).save(place / f"{number}.png")


def write_captioned(folder: Path, captions: Mapping[str, str] = CAPTIONS) -> Path:
    """A data set of one class, video and caption each: 16 frames to train on, 8 held out."""
    videos, output = folder / "videos", folder / "data"
    write_clips(videos, list(captions), num_frames=24)
    rows = [f'{name}/clip,ignored,"{caption}"' for name, caption in captions.items()]
    (folder / "captions.csv").write_text("\n".join(["path,id,caption", *rows]))
    options = VideoFolderOptions(
        input=str(videos), size=16, min_frames=8, max_frames=16, class_folders=True,
        captions=str(folder / "captions.csv"), clip="stands for the encoder",
    )  # fmt: skip
    make_dataset(options, output, load_encoder=lambda folder: RandomEncoder())
    return output


def write_clip(folder: Path, seed: int = 0, with_images: bool = False) -> Path:
    """A random CLIP checkpoint whose words are single letters; needs transformers."""
    import torch
    import transformers

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    ends = ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), *ends]
    folder.mkdir(exist_ok=True)
    ids = {token: number for number, token in enumerate(vocabulary)}
    (folder / "vocab.json").write_text(json.dumps(ids))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    config = transformers.CLIPTextConfig(
        vocab_size=len(vocabulary), max_position_embeddings=CLIP_LENGTH, hidden_size=CLIP_WIDTH,
        intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        bos_token_id=ids[ends[0]], eos_token_id=ids[ends[1]], pad_token_id=ids[ends[1]],
    )  # fmt: skip
    torch.manual_seed(seed)
    model = transformers.CLIPTextModel(config)
    for parameter in model.parameters():
        # Initial weights are so small that captions would hardly differ.
        parameter.data *= 10.0 if parameter.ndim > 1 else 1.0
    if with_images:
        images = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
                  "num_attention_heads": 1, "image_size": 32, "patch_size": 16}  # fmt: skip
        whole = transformers.CLIPModel(
            transformers.CLIPConfig(text_config=config.to_dict(), vision_config=images)
        )
        whole.text_model.load_state_dict(model.state_dict())
        model = whole
    model.save_pretrained(folder)
    return folder
