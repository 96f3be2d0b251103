"""Frozen classifiers: their sources, their preprocessing, and their outputs."""
