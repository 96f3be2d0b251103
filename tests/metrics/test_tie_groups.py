"""Tie groups: each outcome counted down to each distinct score."""

from trustcache.metrics.tie_groups import rank


def test_a_ranking_counts_each_outcome_down_to_each_distinct_score():
    ranking = rank([0.5, 2.0, 0.5, -1.0, 2.0], [1, 1, 0, 0, 1])
    assert ranking.scores.tolist() == [2.0, 0.5, -1.0]
    assert ranking.correct.tolist() == [2, 3, 3]
    assert ranking.wrong.tolist() == [0, 1, 2]


def test_positive_and_negative_zero_are_one_score():
    assert rank([0.0, -0.0], [1, 0]).scores.size == 1
