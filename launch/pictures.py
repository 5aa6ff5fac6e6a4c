"""Cuts square pieces out of photographs and synthetic skies: what `builtin:f4` is trained on.

    python launch/pictures.py --debian=DIR --python=DIR --output=DIR [--size=32]

DIR of --debian holds the unpacked Debian packages of `PHOTOGRAPHS`, DIR of --python the installed
Python packages; launch/codec.sh fetches both. Writes OUTPUT/{train,test}/NAME/NN.png, sixteen
pieces to a folder, which `glober_jax.prepare video_folder` takes for videos. A photograph is either
in train or in test, whole. A piece covers a random part of its photograph, from 1.5 times its
own pixels up to the whole short side, by a uniform logarithm; half of them are mirrored. The
pictures themselves are not redistributed.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from glober_jax.data.datasets.sky_render import render_video

PIECES = 16
# Larger photographs are reduced to this short side first: their pixels are blurred or noisy.
LARGEST_SIDE = 1600
# Folders of PIECES: of every photograph for train and test, and of skies by their side in pixels.
TRAIN_FOLDERS, TEST_FOLDERS = 100, 4
SKY_SCENES = {1: 2000, 2: 1000, 4: 500}
# Apart from the quick start's, which has seed 0.
SKY_SEED = 1


class Photograph(NamedTuple):
    """A picture: package, path in it, author, licence; `held_out` ones are only tested on."""

    package: str
    path: str
    author: str
    licence: str
    held_out: bool = False


def _plasma(name: str, author: str, licence: str = "LGPL-3", **options: bool) -> Photograph:
    path = f"usr/share/wallpapers/{name}/contents/images"
    return Photograph("plasma-workspace-wallpapers", path, author, licence, **options)


def _mate(name: str, author: str, **options: bool) -> Photograph:
    path = f"usr/share/backgrounds/mate/nature/{name}.jpg"
    return Photograph("mate-backgrounds", path, author, "GPL-2+", **options)


def _lomiri(name: str, author: str, licence: str, **options: bool) -> Photograph:
    path = f"usr/share/backgrounds/{name}.jpg"
    return Photograph("lomiri-wallpapers-16.04", path, author, licence, **options)


def _python(package: str, path: str, author: str, licence: str, **options: bool) -> Photograph:
    return Photograph(package, path, author, licence, **options)


PHOTOGRAPHS = (
    _plasma("BytheWater", "Maciej Wiklo"),
    _plasma("ColdRipple", "Risto Saukonpää"),
    _plasma("ColorfulCups", "Dmitri Popov"),
    _plasma("DarkestHour", "Risto Saukonpää"),
    _plasma("EveningGlow", "Ian Hex"),
    _plasma("FallenLeaf", "Martin Klapetek"),
    _plasma("Grey", "Sigi Sagi"),
    _plasma("Kite", "Risto Saukonpää", held_out=True),
    _plasma("OneStandsOut", "Risto Saukonpää", held_out=True),
    _plasma("Path", "Risto Saukonpää"),
    _plasma("Volna", "Nikita Babin", "CC-BY-SA-4.0"),
    _plasma("summer_1am", "Risto Saukonpää"),
    _mate("Aqua", "Charles Barbin"),
    _mate("Blinds", "Lennart Poettering, Andrea Cimitan"),
    _mate("Dune", "Marco Cogoni, Hylke Bons"),
    _mate("FreshFlower", "Jens Ansorg"),
    _mate("Garden", "Charles Barbin", held_out=True),
    _mate("GreenMeadow", "Timothy Schellhase, Lapo Calamandrei"),
    _mate("LadyBird", "Charles Barbin"),
    _mate("RainDrops", "blackcombwhistler07"),
    _mate("Storm", "Sergey Nazarov"),
    _mate("TwoWings", "Charles Barbin, Hylke Bons"),
    _mate("Wood", "Jean-François Fortin Tam"),
    _mate("YellowFlower", "Charles Barbin"),
    _lomiri("Bridge_by_Sander_Klootwijk", "Sander Klootwijk", "CC-BY-SA-4.0", held_out=True),
    _lomiri("Dragonfly_by_Bolly", "Bolly", "CC-BY-SA-4.0"),
    _lomiri("Picture_0B_by_freespace", 'Trevor "Freespace"', "CC-BY-4.0"),
    _lomiri("Picture_1A_by_freespace", 'Trevor "Freespace"', "CC-BY-4.0"),
    _lomiri("Wine_by_Jakkub_Mede", "Jakub Mede", "CC-BY-4.0"),
    _lomiri("aitzgorri_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
    _lomiri("free_by_Peter_Nerlich", "Peter Nerlich", "CC-BY-SA-4.0"),
    _lomiri("friends_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
    _lomiri("greentock_by_Peter_Nerlich", "Peter Nerlich", "CC-BY-SA-4.0"),
    _lomiri("life_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
    _lomiri("picosdeeuropa_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0", held_out=True),
    _lomiri("seeding_by_Clements_Engelhardt", "Clemens Engelhardt", "CC0-1.0", held_out=True),
    _lomiri("sunset_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
    _python("scikit-image", "skimage/data/astronaut.png", "NASA", "public domain"),
    _python("scikit-image", "skimage/data/chelsea.png", "Stefan van der Walt", "CC0-1.0"),
    _python("scikit-image", "skimage/data/coffee.png", "Rachel Michetti", "CC0-1.0", held_out=True),
    _python("scikit-image", "skimage/data/rocket.jpg", "SpaceX", "CC0-1.0"),
    _python("scikit-image", "skimage/data/motorcycle_left.png", "Middlebury Stereo", "CC0-1.0"),
    _python("scikit-image", "skimage/data/hubble_deep_field.jpg", "NASA", "public domain"),
    _python(
        "scikit-learn",
        "sklearn/datasets/images/china.jpg",
        "danielbuechele",
        "CC-BY-2.0",
        held_out=True,
    ),
    _python("scikit-learn", "sklearn/datasets/images/flower.jpg", "vultilion", "CC-BY-2.0"),
)


def open_photograph(photograph: Photograph, debian: Path, python: Path) -> Image.Image:
    """The picture as RGB, its short side at most `LARGEST_SIDE`."""
    is_python = photograph.package.startswith("scikit")
    path = (python if is_python else debian / photograph.package) / photograph.path
    if path.is_dir():
        # Plasma keeps every wallpaper in many sizes.
        path = max(
            (file for file in path.iterdir() if file.suffix in (".jpg", ".png")),
            key=lambda file: file.stat().st_size,
        )
    image = Image.open(path).convert("RGB")
    reduction = LARGEST_SIDE / min(image.size)
    if reduction < 1:
        width, height = (round(side * reduction) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return image


def cut_piece(image: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """A random square part of the picture, reduced to `size` pixels a side, perhaps mirrored."""
    width, height = image.size
    side = int(np.exp(rng.uniform(np.log(1.5 * size), np.log(min(width, height)))))
    left, top = rng.integers(0, width - side + 1), rng.integers(0, height - side + 1)
    piece = image.crop((left, top, left + side, top + side))
    piece = piece.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else piece


def write_folder(folder: Path, pieces: list[Image.Image]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, piece in enumerate(pieces):
        piece.save(folder / f"{number:02d}.png", compress_level=1)


def write_photographs(debian: Path, python: Path, output: Path, size: int) -> None:
    for number, photograph in enumerate(PHOTOGRAPHS):
        image, rng = open_photograph(photograph, debian, python), np.random.default_rng(number)
        split = "test" if photograph.held_out else "train"
        name = photograph.path.removesuffix("/contents/images").split("/")[-1].split(".")[0]
        for part in range(TEST_FOLDERS if photograph.held_out else TRAIN_FOLDERS):
            pieces = [cut_piece(image, size, rng) for _ in range(PIECES)]
            write_folder(output / split / f"photograph_{name}_{part:03d}", pieces)
        print(f"{split}: {photograph.package} {name}", flush=True)


def write_skies(output: Path, size: int) -> None:
    """Pieces of `size` pixels of skies that are drawn so many times larger."""
    first = 0
    for times, scenes in SKY_SCENES.items():
        rng = np.random.default_rng(times)
        for scene in range(first, first + scenes):
            frames = render_video(SKY_SEED, scene, size=times * size, num_frames=PIECES)
            corners = rng.integers(0, (times - 1) * size + 1, (PIECES, 2))
            pieces = [
                Image.fromarray(frame[y : y + size, x : x + size])
                for frame, (y, x) in zip(frames, corners, strict=True)
            ]
            write_folder(output / "train" / f"sky{times}_{scene:05d}", pieces)
        print(f"train: skies {times}", flush=True)
        first += scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("debian", "python", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--size", type=int, default=32)
    arguments = parser.parse_args()
    write_photographs(arguments.debian, arguments.python, arguments.output, arguments.size)
    write_skies(arguments.output, arguments.size)


if __name__ == "__main__":
    main()
