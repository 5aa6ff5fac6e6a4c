"""What the numbers are called, and what each means, in one sentence."""

from typing import NamedTuple


class Meaning(NamedTuple):
    """How a number is called, and a sentence on what it measures and which way is better."""

    title: str
    sentence: str


_MEANINGS = {
    # Scores of two sets. The order is that of importance: the first one there is the headline.
    "fvd": Meaning(
        "FVD",
        "Frechet distance between real and generated clips, seen by a network that names actions "
        "(I3D); lower is better, and few clips make it larger.",
    ),
    "kvd": Meaning(
        "KVD",
        "Kernel distance of the same I3D outputs; lower is better, the number of clips does not "
        "shift it, and it may fall below zero by chance.",
    ),
    "fd_alex": Meaning(
        "FD-Alex",
        "Frechet distance of single frames, seen by AlexNet; blind to motion; lower is better. "
        "It is not FID, which takes another network.",
    ),
    # Motion of one set beside the other.
    "difference": Meaning(
        "Change", "How much a frame differs from the one before; small where little moves."
    ),
    "roughness": Meaning(
        "Roughness",
        "How jerky the change is, relative to its size; noise and shuffled frames raise it.",
    ),
    "flicker": Meaning("Flicker", "How much the brightness of whole frames jumps."),
    "frozen": Meaning("Frozen", "The part of frames that repeat the one before."),
    "warping_error": Meaning(
        "Warping error",
        "What is left after each frame is moved along the optical flow onto the next; a frozen "
        "video wins this one.",
    ),
    # Reconstruction.
    "psnr_db": Meaning("PSNR (dB)", "Pixel error on a logarithmic scale; higher is better."),
    "ssim": Meaning("SSIM", "Likeness of local structure, at most 1; higher is better."),
    "lpips": Meaning("LPIPS", "Difference as a network sees it; lower is better."),
    "rfvd": Meaning(
        "rFVD", "FVD between real clips and their own reconstructions; lower is better."
    ),
}

SCORE_ORDER = ("fvd", "kvd", "fd_alex")


def meaning(name: str) -> Meaning:
    """Of a number by its name in the result; one nobody explained keeps that name."""
    return _MEANINGS.get(name, Meaning(name.replace("_", " "), ""))
