"""A program that reads two batches: reading_script.py DIR WORKERS [stay]."""

import sys
import time

from glober_jax.data.clips import ClipSpec
from glober_jax.data.loader import training_batches
from glober_jax.data.source import open_videos

if __name__ == "__main__":
    videos = open_videos(sys.argv[1], "train")
    batches = training_batches(videos, ClipSpec(), batch_size=4, seed=0, workers=int(sys.argv[2]))
    held = [next(batches), next(batches)]
    print("ready", flush=True)
    if sys.argv[3:]:
        time.sleep(600)
