"""Footnotes: each where a table shows what needs it, once, and nowhere else."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.refusals import tells
from trustcache.report.comparison import COLUMNS, compare_methods
from trustcache.report.footnotes import FEW, few_samples, footnotes
from trustcache.report.table import UNDEFINED


def noted(*records) -> list[str]:
    return list(footnotes(records, COLUMNS))


@pytest.fixture
def ordinary(record):
    """A record of a run whose figures need no footnote."""
    one = record("ce", run="run")
    return replace(one, n=1000, metrics=dict.fromkeys((*COLUMNS, "accuracy"), 0.9))


def test_an_ordinary_table_has_none(ordinary) -> None:
    assert noted(ordinary) == []


@pytest.mark.parametrize(("key", "fact"), [("tnr", "TPR and TNR"), ("fpr_at_95_tpr", "FPR@95")])
def test_an_undefined_figure_is_explained_once_where_it_is_shown(ordinary, key: str, fact: str) -> None:
    gap = replace(ordinary, metrics={**ordinary.metrics, key: math.nan})
    (told,) = noted(ordinary, gap, gap)
    assert tells(told, fact, UNDEFINED)
    assert list(footnotes([gap], ["auc"])) == []


def test_tcp_is_told_to_have_two_thresholds_where_it_stands(ordinary) -> None:
    (told,) = noted(ordinary, replace(ordinary, method="tcp"))
    assert tells(told, "tcp", "chance", "TNR")


def test_an_oracle_that_trusts_every_answer_or_none_is_told_once_a_table(ordinary, record) -> None:
    every = replace(ordinary, metrics={**ordinary.metrics, "tpr": 0.99999, "tnr": 0.0})
    none = replace(ordinary, method="ss", metrics={**ordinary.metrics, "tpr": 0.0, "tnr": 1.0})
    (told,) = noted(every, none, none, ordinary)
    assert tells(told, "every answer by ce", "none by ss", "calibrate")
    (told,) = noted(replace(every, method="tcp"))  # not trusted only below chance
    assert "constant" not in told
    assert noted(replace(every, run=None)) == []
    assert noted(replace(every, metrics={**every.metrics, "tnr": 0.02})) == []


@pytest.mark.parametrize(("accuracy", "facts"), [(0.996, ("4 of 1,000", "wrong")), (0.005, ("5 of 1,000", "right"))])
def test_few_wrong_or_right_answers_are_counted_once_a_table(ordinary, accuracy: float, facts: tuple[str, ...]) -> None:
    few = replace(ordinary, metrics={**ordinary.metrics, "accuracy": accuracy})
    (told,) = noted(few, few)
    assert tells(told, *facts, "chance")
    (table,) = compare_methods([few])
    assert table.table().notes == (told,)
    (told,) = noted(few, ordinary)
    assert "of one row" in told


def test_enough_answers_are_no_caution_and_none_at_all_are_another(ordinary) -> None:
    assert [*few_samples(FEW, FEW)] == []
    (told,) = noted(replace(ordinary, metrics={"auc": math.nan, "accuracy": 1.0}))
    assert tells(told, "None of 1,000", "wrong")
