"""Post-hoc trust scores: of logits alone, and of logits and features after fitting on a training cache."""

from trustcache.scores.entry import post_hoc
from trustcache.scores.fitting import TooFew
from trustcache.scores.registry import POST_HOC, post_hoc_score

__all__ = ["POST_HOC", "TooFew", "post_hoc", "post_hoc_score"]
