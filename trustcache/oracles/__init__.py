"""Oracles: trust predictors trained on cached features or on images, and their runs on disk."""
