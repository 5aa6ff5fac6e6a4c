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
        "Kernel distance of the same I3D outputs; lower is better. The number of clips does not "
        "shift it, so below zero means that it cannot be told from zero.",
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
    "flow_magnitude": Meaning("Flow", "How far things move from frame to frame, in pixels."),
    "occluded": Meaning(
        "Occlusion", "The part of a frame whose motion cannot be followed to the next one."
    ),
    # Where generated clips lie among real ones.
    "precision": Meaning(
        "Precision", "The part of generated clips that lie among real ones; higher is better."
    ),
    "recall": Meaning(
        "Recall", "The part of real clips that lie among generated ones; higher is better."
    ),
    "density": Meaning(
        "Density", "How many real clips a generated one lies near, beside what is expected."
    ),
    "coverage": Meaning(
        "Coverage", "The part of real clips that a generated one lies near; higher is better."
    ),
    "memorisation_ratio": Meaning(
        "Distance to training clips",
        "That of generated clips over that of test clips; about 1 for new clips, 0 for copies.",
    ),
    "memorised": Meaning(
        "Near copies",
        "The part of generated clips nearer to a training clip than 95 % of test clips are; about "
        "0.05 for new clips, 1 for copies.",
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
