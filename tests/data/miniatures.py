"""Miniature copies of the benchmarks' data sets as they lie on disk, from real, tiny videos.

Every one has its planted faults: too short, empty, garbage, without bytes; and what must not be
taken for one: names that are not ASCII, suffixes in capitals, one broken frame among good ones,
what systems leave behind.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from PIL import Image

WIDTH, HEIGHT = 48, 32
NUM_FRAMES = 20  # of a good video
NUM_SHORT = 7  # of one that is too short
CLASSES = ("Archery", "HandstandPushups", "YoYo")


@dataclass(frozen=True)
class Miniature:
    """A data set on disk.

    Attributes:
      root: what --input names.
      accepted: ids of the videos that can be used.
      rejects: ids of those that cannot, each with a part of the reason.
      damaged: ids of accepted videos of which a frame is left out.
      flags: further options, by name.
    """

    root: Path
    accepted: frozenset[str]
    rejects: dict[str, str]
    damaged: frozenset[str] = frozenset()
    flags: dict[str, str] = field(default_factory=dict)


def nested_sky(folder: Path) -> Miniature:
    """MDGAN's release: films, their scenes, and the frames of each."""
    root = folder / "sky_timelapse"
    sunset, dawn = "sky_train/-bCdEfGh_Jk", "sky_train/夜明け"
    night = "sky_test/NigHtSky0_1"
    good = (f"{sunset}/-bCdEfGh_Jk_1", f"{sunset}/-bCdEfGh_Jk_2", f"{dawn}/夜明け_1",
            f"{dawn}/夜明け_2", f"{night}/NigHtSky0_1_1", f"{night}/NigHtSky0_1_2")  # fmt: skip
    for seed, video in enumerate(good):
        film = Path(video).parent.name
        suffix = "JPG" if seed == 1 else "jpg"
        write_frames(
            root / video, seed, lambda i, f=film, s=suffix: f"{f}_frames_{i + 86552:08d}.{s}"
        )
    (root / good[2] / "夜明け_frames_00086555.jpg").write_bytes(b"no picture")
    write_frames(root / f"{sunset}/-bCdEfGh_Jk_3", 7, "{:08d}.jpg".format, NUM_SHORT)
    write_garbage_frames(root / f"{dawn}/夜明け_3")
    (root / f"{night}/NigHtSky0_1_3").mkdir()
    _leave_litter(root / good[0])
    rejects = {
        f"{sunset}/-bCdEfGh_Jk_3": "has 7 usable frames",
        f"{dawn}/夜明け_3": "has 0 usable frames",
        f"{night}/NigHtSky0_1_3": "holds no frames",
    }
    return Miniature(root, frozenset(good), rejects, frozenset(good[2:3]))


def ucf_tree(folder: Path) -> Miniature:
    """A folder of AVI files per class, the official lists beside them."""
    root = folder / "UCF-101"
    names = [f"{name}/v_{name}_g{g:02d}_c01" for name in CLASSES for g in (1, 8)]
    spelling = {"HandstandPushups/v_HandstandPushups": "HandstandPushups/v_HandStandPushups"}
    good = []
    for seed, name in enumerate(names):
        for listed, on_disk in spelling.items():
            name = name.replace(listed, on_disk)
        good.append(f"{name}.{'AVI' if seed == 1 else 'avi'}")
        write_video(root / good[-1], seed)
    write_video(root / "YoYo/v_YoYo_g09_c01.avi", 7, NUM_SHORT)
    (root / "YoYo/v_YoYo_g09_c02.avi").touch()
    (root / "Archery/v_Archery_g09_c01.avi").write_bytes(np.random.default_rng(0).bytes(5000))
    write_video(root / "Archery/v_Archery_g25_c09.avi", 8)
    write_video(root / "Archery/übung.avi", 9)
    (root / "Basketball").mkdir()
    faulty = ["YoYo/v_YoYo_g09_c01", "YoYo/v_YoYo_g09_c02", "Archery/v_Archery_g09_c01"]
    absent = ["YoYo/v_YoYo_g10_c01", "YoYo/v_YoYo_g10_c02"]
    write_ucf_lists(
        folder / "ucfTrainTestlist",
        [*names[1::2], *faulty, *absent],
        names[::2],
        [*CLASSES, "Zumba"],
    )
    rejects = {
        "YoYo/v_YoYo_g09_c01.avi": "has 7 usable frames",
        "YoYo/v_YoYo_g09_c02.avi": "the file is empty",
        "Archery/v_Archery_g09_c01.avi": "not a readable video",
        "Archery/v_Archery_g25_c09.avi": "named neither in trainlist01.txt nor in testlist01.txt",
        "Archery/übung.avi": "not named like v_Archery_g01_c01",
        "Basketball": "is empty",
    }
    return Miniature(root, frozenset(good), rejects)


def taichi(folder: Path) -> Miniature:
    """Clips as MP4 files for training, as folders of PNG files for testing."""
    root = folder / "taichi"
    clips = [
        f"train/{film}#{start:06d}#000999.mp4"
        for film in ("aB3#x_-Yz01", "太極拳")
        for start in (0, 50)
    ]
    clips[1] = clips[1].replace(".mp4", ".MP4")
    for seed, clip in enumerate(clips):
        write_video(root / clip, seed)
    frames = ["test/Qq-12345678#000000#000100", "test/Qq-12345678#000100#000200"]
    for seed, video in enumerate(frames, start=4):
        write_frames(root / video, seed, "{:07d}.png".format)
    write_video(root / "train/tiny#000001#000008.mp4", 7, NUM_SHORT)
    (root / "train/none#000001#000008.mp4").touch()
    (root / "test/gone#000001#000100").mkdir()
    _leave_litter(root / frames[0])
    rejects = {
        "train/tiny#000001#000008.mp4": "has 7 usable frames",
        "train/none#000001#000008.mp4": "the file is empty",
        "test/gone#000001#000100": "holds no frames",
    }
    return Miniature(root, frozenset([*clips, *frames]), rejects)


def webvid(folder: Path) -> Miniature:
    """MP4 files in page folders, and the official table; its rows are not always in their order."""
    root = folder / "webvid"
    captions = {
        "000001_000050/1001": 'So-called "drone shot", over a bay, at dusk',
        "000001_000050/1002": "Wellen, schön",
        "000051_000100/1003": "a cat,\nthen a dog",
        "000051_000100/1004": "雪が降る",
        "000051_000100/1005": "Rain",
        "000051_000100/1006": "Smoke, slowly",
    }
    good = [f"{name}.{'MP4' if name.endswith('2') else 'mp4'}" for name in captions]
    for seed, video in enumerate(good):
        write_video(root / video, seed)
    write_video(root / "000051_000100/1007.mp4", 7)
    write_video(root / "000051_000100/1008.mp4", 8, NUM_SHORT)
    (root / "000051_000100/1009.mp4").touch()
    (root / "000101_000150").mkdir()
    captions |= {"000051_000100/1008": "Short", "000051_000100/1009": "Nothing", "x/1": "Not there"}
    table = folder / "results.csv"
    with table.open("w", encoding="utf-8-sig", newline="") as text:
        rows = csv.writer(text)
        rows.writerow(["videoid", "contentUrl", "duration", "page_dir", "name"])
        for video, caption in reversed(captions.items()):
            page, name = video.split("/")
            rows.writerow([name, f"https://example.org/{name}.mp4", "PT00H00M02S", page, caption])
    rejects = {
        "000051_000100/1007.mp4": "has no caption",
        "000051_000100/1008.mp4": "has 7 usable frames",
        "000051_000100/1009.mp4": "the file is empty",
        "000101_000150": "is empty",
    }
    return Miniature(root, frozenset(good), rejects, flags={"captions": str(table)})


def write_video(path: Path, seed: int, num_frames: int = NUM_FRAMES) -> None:
    """A video file, 25 frames per second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=path.suffix[1:].lower()) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for image in _pictures(seed, num_frames):
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())


def write_frames(
    folder: Path, seed: int, name: Callable[[int], str], num_frames: int = NUM_FRAMES
) -> None:
    """A folder of images."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(_pictures(seed, num_frames)):
        image.save(folder / name(number))


def write_garbage_frames(folder: Path) -> None:
    """A folder of files that are images by name only, and a few that end early."""
    write_frames(folder, 0, "{:06d}.jpg".format)
    for number, path in enumerate(sorted(folder.iterdir())):
        path.write_bytes(path.read_bytes()[: number * 5])


def write_ucf_lists(
    folder: Path, train: Sequence[str], test: Sequence[str], classes: Sequence[str] = CLASSES
) -> None:
    """The three files of split 1; videos as `Class/v_Class_g01_c01`."""
    folder.mkdir(parents=True)
    labels = {name: label for label, name in enumerate(classes, start=1)}
    lines = "".join(f"{label} {name}\r\n" for name, label in labels.items())
    (folder / "classInd.txt").write_text(lines, newline="")
    lines = "".join(f"{name}.avi {labels[name.split('/')[0]]}\n" for name in train)
    (folder / "trainlist01.txt").write_text(lines)
    (folder / "testlist01.txt").write_text("".join(f"{name}.avi\n" for name in test))


def _pictures(seed: int, num_frames: int) -> list[Image.Image]:
    """A soft random texture that moves to the right."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8))
    texture = np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    return [Image.fromarray(np.roll(texture, 2 * i, axis=1)) for i in range(num_frames)]


def _leave_litter(folder: Path) -> None:
    """What macOS and Windows leave in folders of pictures."""
    (folder / "._00000001.jpg").write_bytes(b"resource fork")
    (folder / ".DS_Store").write_bytes(b"Bud1")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "00000001.jpg").write_bytes(b"resource fork")
