"""Evaluation of sets of videos. Models are not part of it: `reporting` generates their clips.

`video_io` opens videos, `protocols` choose clips, `measuring` computes their features, `scoring`
turns these into scores with intervals, `evaluating` runs it all, `results` is the JSON record.
"""
