"""Data sets: what images there are, how their files lie on disk, and how they are read."""
