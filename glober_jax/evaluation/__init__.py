"""Evaluation of sets of videos. Models are not part of it: `reporting` generates their clips.

`video_io` opens videos, `clip_selection` chooses clips by a protocol (`protocols`), `measuring`
computes their features, `scoring` turns these into scores with intervals, `evaluating` runs it
all, and `results` is the JSON record.
"""
