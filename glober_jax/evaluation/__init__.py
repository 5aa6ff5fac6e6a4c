"""Evaluation of videos: sets of videos -> clips -> measures -> scores -> result.

    video_io      opens a set of videos
    protocols     choose its clips
    measuring     measures clips, by block, with the feature extractors
    scoring       scores two sets of measures, with intervals
    evaluating    all of these for real and generated clips
    results       the JSON record; tables shows it to people

Metrics of arrays are in `metrics`. Models are no part of it: `reporting` makes their clips.
"""
