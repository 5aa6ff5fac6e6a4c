"""Sets of videos that somebody points at, to be measured: arrays, folders of frames, of files."""
