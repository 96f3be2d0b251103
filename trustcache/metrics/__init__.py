"""Metrics of trust scores: arrays in, numbers out."""

from trustcache.metrics.ranking import trust_metrics

__all__ = ["trust_metrics"]
