"""Deployment: thresholds with a guarantee, answers for new images, and the exported pair."""
