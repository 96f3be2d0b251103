"""Evaluation: the scores of runs and post-hoc methods on every evaluation cache, and the choice among runs."""
