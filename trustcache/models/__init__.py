"""Frozen classifiers: where they come from, how they see images, and what they compute."""
