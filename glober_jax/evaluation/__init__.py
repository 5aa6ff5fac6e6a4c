"""Evaluation of sets of videos. Models are not part of it: `reporting` generates their clips.

`video_io` opens videos, `evaluating` chooses clips by a protocol (`protocols`), has `measuring`
compute their features and `scoring` turn these into scores; `results` is the JSON record.
"""
