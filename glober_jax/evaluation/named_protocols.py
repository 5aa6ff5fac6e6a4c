"""The protocols of papers, and those of this project, by name."""

import dataclasses

from glober_jax.evaluation.protocol import Protocol

# The protocol that fits itself to the data.
SMALL = "small"
OF_THIS_PROJECT = "of this project; not comparable to published scores"

_STYLEGANV = Protocol(
    name="styleganv_16f",
    split="train+test",
    videos="first",
    repeat_videos=False,
    ddof=0,
    description=(
        "What GLOBER reports: 16 frames in a row from each of the first 2048 videos in sorted "
        "order, which in UCF-101 are of about 16 of its 101 classes. StyleGAN-V itself leaves the "
        "test split out except for UCF-101."
    ),
    source="StyleGAN-V (arXiv 2112.14683), fvd2048_16f; GLOBER (arXiv 2309.13274)",
)
_STYLEGANV_128F = dataclasses.replace(
    _STYLEGANV,
    name="styleganv_128f",
    num_frames=128,
    description="128 frames in a row, all of them through I3D; shorter videos are left out.",
    source="StyleGAN-V (arXiv 2112.14683), fvd2048_128f",
)
_STYLEGANV_128F_S8 = dataclasses.replace(
    _STYLEGANV_128F,
    name="styleganv_128f_s8",
    num_frames=16,
    stride=8,
    description="Every eighth of 128 frames: slow changes rather than motion.",
    source="StyleGAN-V (arXiv 2112.14683), fvd2048_128f_subsample8f",
)


def _balanced(protocol: Protocol) -> Protocol:
    return dataclasses.replace(
        protocol,
        name=f"{protocol.name}_balanced",
        videos="class_balanced",
        description=f"As {protocol.name}, but with as many videos of every class as there can be.",
        source=OF_THIS_PROJECT,
    )


_ALL = (
    _STYLEGANV,
    _balanced(_STYLEGANV),
    _STYLEGANV_128F,
    _balanced(_STYLEGANV_128F),
    _STYLEGANV_128F_S8,
    _balanced(_STYLEGANV_128F_S8),
    Protocol(
        name="digan",
        split="test",
        videos="random",
        repeat_videos=True,
        resize="crop",
        ddof=1,
        repeats=10,
        description=(
            "Test videos against ten sets of samples; one clip of each video before a second of "
            "any, where the original draws among all clips."
        ),
        source="DIGAN (arXiv 2202.10571), compute_fvd_kvd.py",
    ),
    Protocol(
        name="tats",
        split="train",
        videos="random",
        repeat_videos=True,
        ddof=1,
        description=(
            "Training videos, one set of samples; one clip of each video before a second of any, "
            "where the original draws among all clips."
        ),
        source="TATS (arXiv 2204.03638), sample_vqgan_transformer_short_videos.py; LVDM follows it",
    ),
    Protocol(
        name="magvit",
        split="train",
        num_clips=10_000,
        videos="random",
        repeat_videos=True,
        ddof=1,
        repeats=4,
        description="10,000 clips of training videos; UCF-101 has 9,537, so some give two.",
        source="MAGVIT (arXiv 2212.05199), maskgvt_ucf101_config.py",
    ),
    Protocol(
        name=SMALL,
        split="test",
        num_clips=256,
        videos="random",
        start="centre",
        repeat_videos=False,
        ddof=0,
        description=(
            "For small data sets and a quick look: held-out videos, a small sample, so that scores "
            "are far above and not comparable to published ones."
        ),
        source="of this project",
    ),
)
PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}
