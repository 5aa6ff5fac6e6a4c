"""Which files hold a video or a frame, by the suffixes of their names."""

import mimetypes
import os
from typing import Literal


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


VIDEO_SUFFIXES = _suffixes(
    "3g2 3gp amv asf avi divx dv f4v flv gif h264 h265 hevc ivf m1v m2ts m2v m4v mjpeg mjpg mkv "
    "mov mp4 mpe mpeg mpg mts mxf nut ogm ogv qt rm rmvb ts vob webm wmv y4m"
)
IMAGE_SUFFIXES = _suffixes(
    "avif bmp dib j2k jfif jp2 jpe jpeg jpg jpx pbm pgm png pnm ppm sgi tga tif tiff webp"
)
# Beside what Python knows as pictures: raw files of cameras and studios.
_OTHER_MEDIA = _suffixes(
    "arw braw cr2 cr3 dng dpx exr hdr heic heif jxl nef orf psd r3d raf raw rw2 swf svg"
)

Kind = Literal["video", "image", "unread", "other"]


def kind_of(name: str) -> Kind:
    """What a file is by its name; "unread" is a picture or video of a format that is not read."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in VIDEO_SUFFIXES:
        return "video"
    if suffix in IMAGE_SUFFIXES:
        return "image"
    mime = mimetypes.types_map.get(suffix, "")
    return "unread" if suffix in _OTHER_MEDIA or mime.startswith(("image/", "video/")) else "other"
