"""Words of the report: titles and explanations of measures, and numbers as text."""

import math

import numpy as np

# The order of scores; the first one there is the headline.
SCORES = ("fvd", "kvd", "fd_alex")

# "Title: explanation."
_MEASURES = {
    "fvd": "FVD: Fréchet distance between real and generated clips as a network that recognises "
    "actions (I3D) sees them; lower is better, and few clips make it larger.",
    "kvd": "KVD: Kernel distance of the same I3D outputs; lower is better. The number of clips "
    "does not shift it, so a value below zero cannot be told from zero.",
    "fd_alex": "FD-Alex: Fréchet distance of single frames as AlexNet sees them; blind to motion; "
    "lower is better. Not FID, which takes another network.",
    "difference": "Change: Difference between a frame and the one before.",
    "roughness": "Roughness: How jerky the change is; noise and shuffled frames raise it.",
    "flicker": "Flicker: How much the brightness of whole frames jumps.",
    "frozen": "Frozen: Share of frames that repeat the one before.",
    "warping_error": "Warping error: What is left after each frame is moved along the optical "
    "flow; a still video has none.",
    "flow_magnitude": "Optical flow: How far things move from frame to frame, in pixels.",
    "occluded": "Occlusion: Share of a frame that cannot be followed to the next one.",
    "precision": "Precision: Share of generated clips that lie among real ones; higher is better.",
    "recall": "Recall: Share of real clips that lie among generated ones; higher is better.",
    "density": "Density: Real clips near a generated one, relative to what is expected.",
    "coverage": "Coverage: Share of real clips with a generated one nearby; higher is better.",
    "memorisation_ratio": "Distance to training clips: That of generated clips over that of test "
    "clips; about 1 for new clips, 0 for copies.",
    "memorised": "Near copies: Share of generated clips nearer to a training clip than 95 % of "
    "test clips are; about 0.05 for new clips, 1 for copies.",
    "psnr_db": "PSNR (dB): Pixel error on a logarithmic scale; higher is better.",
    "ssim": "SSIM: Likeness of local structure, at most 1; higher is better.",
    "lpips": "LPIPS: Difference as a network sees it; lower is better.",
}

NOTHING = "\N{EN DASH}"


def title(name: str) -> str:
    """The title of a measure, by default its name in the result."""
    return _MEASURES[name].partition(": ")[0] if name in _MEASURES else name.replace("_", " ")


def sentence(name: str) -> str:
    """The explanation of a measure, or ""."""
    return _MEASURES.get(name, "").partition(": ")[2]


def number(value: float | None) -> str:
    """Three significant digits, or all of whole numbers; a dash for None and NaN."""
    if value is None or math.isnan(value):
        return NOTHING
    if isinstance(value, int) or abs(value) >= 100:
        text = f"{value:,.0f}"
    else:
        text = np.format_float_positional(value, 3, fractional=False, trim="-")
    # Unlike a hyphen, a minus sign allows no line break.
    return text.replace("-", "\N{MINUS SIGN}")


def percent(value: float | None) -> str:
    """A share as a whole percentage."""
    return NOTHING if value is None else f"{100 * value:.0f}\N{NO-BREAK SPACE}%"


def duration(seconds: float) -> str:
    """Seconds, minutes, or hours and minutes."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
