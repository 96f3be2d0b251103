"""Promises of trustcache.metrics, judged by scikit-learn, by a slow loop in fractions, and by fd-shifts' numbers."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from trustcache.metrics.ranking import METRICS, trust_metrics

RANKING_METRICS = ["auc", "aupr_success", "aupr_error", "fpr_at_95_tpr", "aurc", "e_aurc", "augrc"]
NEED_BOTH_CLASSES = ["auc", "aupr_success", "aupr_error", "fpr_at_95_tpr"]


def noisy_scores(seed, n=400, decimals=1):
    """Scores that say something about correctness, rounded so that most of them are tied."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    correct = rng.random(n) < 1 / (1 + np.exp(-z - 1))
    correct[:2] = True, False
    return z.round(decimals), correct


TIED = st.integers(-5, 5).map(float)
TIED_OR_INFINITE = TIED | st.sampled_from([-math.inf, math.inf])


@st.composite
def samples(draw, scores=TIED_OR_INFINITE):
    """1 to 40 samples, with many ties and some infinite scores."""
    rows = draw(st.lists(st.tuples(scores, st.booleans()), min_size=1, max_size=40))
    z, correct = zip(*rows, strict=True)
    return np.array(z), np.array(correct)


@st.composite
def mixed_samples(draw, scores=TIED_OR_INFINITE):
    """As `samples`, with at least one correct and one wrong sample."""
    z, correct = draw(samples(scores))
    extra = [draw(scores), draw(scores)]
    return np.append(z, extra), np.append(correct, [True, False])


def quietly(z, correct, **thresholds):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return trust_metrics(z, correct, **thresholds)


def areas_by_hand(z, correct):
    """AURC and AUGRC from their definition: accept score by score, in exact fractions."""
    n, points = len(z), []
    for threshold in sorted(set(z), reverse=True):
        kept = [bool(right) for score, right in zip(z, correct, strict=True) if score >= threshold]
        n_wrong = kept.count(False)
        points.append((Fraction(len(kept), n), Fraction(n_wrong, len(kept)), Fraction(n_wrong, n)))
    aurc = augrc = before = Fraction(0)
    selective_before, generalized_before = points[0][1], Fraction(0)
    for coverage, selective, generalized in points:
        aurc += (coverage - before) * (selective_before + selective) / 2
        augrc += (coverage - before) * (generalized_before + generalized) / 2
        before, selective_before, generalized_before = coverage, selective, generalized
    return float(aurc), float(augrc)


@pytest.mark.parametrize("decimals", [0, 1, 2, 12])
@pytest.mark.parametrize("seed", range(5))
def test_auc_average_precision_and_fpr_equal_scikit_learn(seed, decimals):
    z, correct = noisy_scores(seed, decimals=decimals)
    got = trust_metrics(z, correct)
    fpr, tpr, _ = roc_curve(correct, z, drop_intermediate=False)
    assert got["auc"] == pytest.approx(roc_auc_score(correct, z), abs=1e-12)
    assert got["aupr_success"] == pytest.approx(average_precision_score(correct, z), abs=1e-12)
    assert got["aupr_error"] == pytest.approx(average_precision_score(~correct, -z), abs=1e-12)
    assert got["fpr_at_95_tpr"] == pytest.approx(fpr[tpr >= 0.95].min(), abs=1e-12)


@given(mixed_samples(scores=TIED))
@settings(deadline=None)
def test_scikit_learn_agrees_on_every_small_example(example):
    z, correct = example
    got = trust_metrics(z, correct)
    fpr, tpr, _ = roc_curve(correct, z, drop_intermediate=False)
    judge = [
        roc_auc_score(correct, z),
        average_precision_score(correct, z),
        average_precision_score(~correct, -z),
        fpr[tpr >= 0.95].min(),
    ]
    assert [got[name] for name in NEED_BOTH_CLASSES] == pytest.approx(judge, abs=1e-12)


@given(samples())
@settings(deadline=None)
def test_aurc_and_augrc_equal_a_loop_over_thresholds(example):
    z, correct = example
    got = quietly(z, correct)
    aurc, augrc = areas_by_hand(z, correct)
    assert got["aurc"] == pytest.approx(aurc, abs=1e-12)
    assert got["augrc"] == pytest.approx(augrc, abs=1e-12)


@given(samples())
@settings(deadline=None)
def test_e_aurc_is_aurc_less_the_limit_of_a_perfect_order(example):
    z, correct = example
    got, error = quietly(z, correct), 1 - correct.mean()
    best = error + (1 - error) * math.log(1 - error) if error < 1 else 1.0
    assert got["e_aurc"] == pytest.approx(got["aurc"] - best, abs=1e-12)


# AURC, E-AURC and AUGRC as fd-shifts itself gave them: its RiskCoverageStats(confids=scores, residuals=1 - correct),
# from fd_shifts/analysis/rc_stats.py run in a scratch script, divided by its display scale of 1000.
FD_SHIFTS = [
    (
        [2.5, 2.5, 2.5, 1.25, 1.25, 0.5, 0.5, 0.5, -0.75, -3.0],
        [1, 1, 0, 1, 1, 1, 0, 1, 0, 0],
        (0.2866666666666667, 0.19316204092626088, 0.14),
    ),
    ([4, 3, 2, 1, 0], [1, 1, 1, 1, 0], (0.02, -0.0014851589486324563, 0.02)),
    ([0, 1, 2, 3, 4], [1, 1, 1, 1, 0], (0.5366666666666666, 0.5151815077180342, 0.18)),
    ([1, 1, 1, 1], [1, 0, 0, 1], (0.5, 0.3465735902799725, 0.25)),
    ([1, 2, 3], [0, 0, 0], (1.0, 0.0, 0.5)),
]


@pytest.mark.parametrize(("scores", "correct", "golden"), FD_SHIFTS)
def test_areas_are_those_that_fd_shifts_computes(scores, correct, golden):
    got = quietly(scores, correct)
    assert (got["aurc"], got["e_aurc"], got["augrc"]) == pytest.approx(golden, abs=1e-12)


def test_accuracy_is_the_share_of_correct_samples():
    assert trust_metrics([3, 1, 2, 0], [1, 0, 0, 0])["accuracy"] == 0.25


@given(mixed_samples(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_rows_changes_nothing_under_ties(example, random):
    z, correct = example
    order = list(range(len(z)))
    random.shuffle(order)
    assert trust_metrics(z[order], correct[order]) == trust_metrics(z, correct)


@given(mixed_samples())
@settings(deadline=None)
def test_a_strictly_increasing_transformation_keeps_every_ranking_metric(example):
    z, correct = example
    place = np.unique(z, return_inverse=True)[1]
    before, after = trust_metrics(z, correct), trust_metrics(1e6 * place - 7, correct)
    assert [before[name] for name in RANKING_METRICS] == [after[name] for name in RANKING_METRICS]


@given(mixed_samples())
@settings(deadline=None)
def test_negated_scores_mirror_the_auc(example):
    z, correct = example
    assert trust_metrics(-z, correct)["auc"] == pytest.approx(1 - trust_metrics(z, correct)["auc"], abs=1e-12)


@given(mixed_samples())
@settings(deadline=None)
def test_swapping_success_and_error_swaps_their_average_precisions(example):
    z, correct = example
    there, back = trust_metrics(z, correct), trust_metrics(-z, ~correct)
    assert (there["aupr_success"], there["aupr_error"]) == pytest.approx((back["aupr_error"], back["aupr_success"]))


@given(mixed_samples())
@settings(deadline=None)
def test_every_metric_but_e_aurc_is_a_fraction(example):
    got = trust_metrics(*example)
    assert all(0 <= got[name] <= 1 for name in METRICS if name != "e_aurc")


@pytest.mark.parametrize(("n_correct", "n_needed"), [(20, 19), (100, 95), (21, 20), (19, 19), (1, 1)])
def test_fpr_at_95_tpr_is_read_at_exactly_95_percent(n_correct, n_needed):
    # One wrong sample lies just below each correct one, so the wrong let through count the correct ones before.
    correct = np.tile([True, False], n_correct)
    got = trust_metrics(-np.arange(2 * n_correct), correct)
    assert got["fpr_at_95_tpr"] == (n_needed - 1) / n_correct


def test_a_tie_group_enters_the_fpr_whole():
    # The correct sample that completes 95 % shares its score with half of the wrong ones.
    assert trust_metrics([2, 1, 1, 0], [1, 1, 0, 0])["fpr_at_95_tpr"] == 0.5


def test_constant_scores_rank_like_a_coin():
    got = trust_metrics(np.zeros(10), np.arange(10) < 7)
    expected = {"auc": 0.5, "aupr_success": 0.7, "aupr_error": 0.3, "fpr_at_95_tpr": 1.0, "aurc": 0.3, "augrc": 0.15}
    assert {name: got[name] for name in expected} == pytest.approx(expected)


def test_scores_whose_float32_sigmoid_saturates_still_rank_by_z():
    z = np.linspace(17, 90, 50, dtype=np.float32)
    assert np.all(1 / (1 + np.exp(-z)) == 1), "the sigmoid no longer saturates: this test shows nothing"
    correct = np.arange(50) >= 10
    got = trust_metrics(z, correct)
    assert [got["auc"], got["aupr_success"], got["aupr_error"], got["fpr_at_95_tpr"]] == [1, 1, 1, 0]


def test_float64_scores_that_float32_would_merge_are_told_apart():
    z = 1 + np.array([0, 1, 2, 3]) * 1e-12
    assert trust_metrics(z, [0, 0, 1, 1])["auc"] == 1
    assert trust_metrics(z, [1, 1, 0, 0])["auc"] == 0


def test_thresholds_are_compared_in_z_where_nothing_saturates():
    # sigmoid(20) is 1 - 2e-9: below this threshold, but exactly 1 in float32.
    got = trust_metrics(np.float32([20, 30, 20, 30]), [1, 1, 0, 0], positive_threshold=1 - 1e-10)
    assert (got["tpr"], got["tnr"]) == (0.5, 0.5)
    # sigmoid(1e-20) is exactly 0.5 even in float64, but z is above 0.
    assert trust_metrics([1e-20, -1.0], [1, 0])["tpr"] == 1


def test_infinite_scores_rank_above_and_below_all_others():
    got = trust_metrics([math.inf, math.inf, 0.0, -math.inf], [1, 0, 1, 0])
    finite = trust_metrics([9.0, 9.0, 0.0, -9.0], [1, 0, 1, 0])
    assert got == finite


def test_a_sample_exactly_at_the_threshold_is_untrustworthy():
    got = trust_metrics([0.0, 1.0, 0.0, 1.0, -1.0], [1, 1, 0, 0, 0])
    assert got["tpr"] == 1 / 2
    assert got["tnr"] == 2 / 3


def test_the_positive_threshold_moves_both_rates():
    p = np.array([0.2, 0.6, 0.7, 0.9, 0.1, 0.6, 0.7, 0.9])
    got = trust_metrics(np.log(p / (1 - p)), [1, 1, 1, 1, 0, 0, 0, 0], positive_threshold=0.65)
    assert (got["tpr"], got["tnr"]) == (0.5, 0.5)
    got = trust_metrics(np.log(p / (1 - p)), [1, 1, 1, 1, 0, 0, 0, 0], positive_threshold=0.15)
    assert (got["tpr"], got["tnr"]) == (1.0, 0.25)


def test_true_class_probability_calls_untrustworthy_only_what_is_strictly_below_one_over_k():
    # K = 2: 1/K is z = 0 to the last bit, so the sample at 0 tests strictness.
    got = trust_metrics([3.0, -1.0, 0.0, -1.0], [1, 0, 0, 0], negative_threshold=1 / 2)
    assert got["tnr"] == 2 / 3
    # K = 10: 0.3 lies between 1/K and 0.5; it is neither trustworthy nor untrustworthy.
    p = np.array([0.8, 0.3, 0.3, 0.05])
    got = trust_metrics(np.log(p / (1 - p)), [1, 1, 0, 0], negative_threshold=1 / 10)
    assert (got["tpr"], got["tnr"]) == (0.5, 0.5)


def test_a_float32_threshold_means_the_same_as_its_float64_value():
    threshold = np.float32(0.1)
    z_between = np.nextafter(math.log(float(threshold) / (1 - float(threshold))), [-1e9, 1e9])
    got = trust_metrics(z_between, [0, 1], positive_threshold=threshold)
    assert (got["tpr"], got["tnr"]) == (1, 1)


@pytest.mark.parametrize(
    ("correct", "undefined"),
    [
        ([1, 1, 1], ["auc", "aupr_success", "aupr_error", "fpr_at_95_tpr", "tnr"]),
        ([0, 0, 0], ["auc", "aupr_success", "aupr_error", "fpr_at_95_tpr", "tpr"]),
    ],
    ids=["all correct", "all wrong"],
)
def test_what_one_class_leaves_undefined_is_nan_and_named_in_one_warning(correct, undefined):
    with pytest.warns(UserWarning, match="undefined") as caught:
        got = trust_metrics([1.0, -2.0, 3.0], correct)
    assert [name for name in got if math.isnan(got[name])] == undefined
    assert len(caught) == 1
    named = str(caught[0].message).rsplit(": ", 1)[1].rstrip(".").split(", ")
    assert named == undefined
    assert caught[0].filename == __file__


def test_one_class_leaves_the_other_metrics_as_they_are():
    all_correct, all_wrong = quietly([1, -2, 3], [1, 1, 1]), quietly([1, -2, 3], [0, 0, 0])
    names = ["accuracy", "aurc", "e_aurc", "augrc"]
    assert [all_correct[name] for name in [*names, "tpr"]] == [1, 0, 0, 0, 2 / 3]
    assert [all_wrong[name] for name in [*names, "tnr"]] == [0, 1, 0, 0.5, 1 / 3]


def test_two_classes_raise_no_warning_and_leave_nothing_undefined():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = trust_metrics([1, 2], [0, 1])
    assert all(math.isfinite(value) for value in got.values())


BAD_INPUT = {
    "empty": ([], [], "no samples"),
    "different lengths": ([1.0, 2.0], [1], r"\(2,\) and \(1,\)"),
    "two-dimensional": ([[1.0], [2.0]], [[1], [0]], "one-dimensional"),
    "zero-dimensional": (1.0, 1, "one-dimensional"),
    "a column against a row, which would broadcast": (np.zeros((3, 1)), np.ones(3), "one-dimensional"),
    "nan score": ([1.0, math.nan, 2.0], [1, 0, 1], "1 of 3"),
    "complex scores": ([1j, 2j], [1, 0], "complex128"),
    "text scores": (["high", "low"], [1, 0], "real numbers"),
    "correct is a probability": ([1.0, 2.0], [0.5, 1.0], "True and False"),
    "correct is a label": ([1.0, 2.0], [2, 1], "True and False"),
    "correct is ±1": ([1.0, 2.0], [-1, 1], "True and False"),
    "correct is nan": ([1.0, 2.0], [math.nan, 1.0], "True and False"),
    "correct is text": ([1.0, 2.0], ["0", "1"], "True and False"),
}


@pytest.mark.parametrize(("scores", "correct", "message"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_raises_value_error_in_one_sentence(scores, correct, message):
    with pytest.raises(ValueError, match=message) as caught:
        trust_metrics(scores, correct)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf])
@pytest.mark.parametrize("which", ["positive", "negative"])
def test_a_threshold_that_is_no_confidence_raises_value_error(which, threshold):
    with pytest.raises(ValueError, match=f"The {which} threshold"):
        trust_metrics([1, 2], [0, 1], **{f"{which}_threshold": threshold})


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_correct_may_be_of_any_type_that_holds_0_and_1(dtype):
    z, correct = noisy_scores(1)
    assert trust_metrics(z, correct.astype(dtype)) == trust_metrics(z, correct)


def test_lists_are_taken_as_arrays():
    z, correct = noisy_scores(2)
    assert trust_metrics(z.tolist(), correct.tolist()) == trust_metrics(z, correct)


def test_what_is_passed_in_is_left_as_it_was():
    z, correct = noisy_scores(3)
    z_before, correct_before = z.copy(), correct.copy()
    trust_metrics(z, correct)
    assert np.array_equal(z, z_before)
    assert np.array_equal(correct, correct_before)


def test_the_registry_names_exactly_the_keys_that_other_work_relies_on():
    keys = ["accuracy", *NEED_BOTH_CLASSES, "tpr", "tnr", "aurc", "e_aurc", "augrc"]
    got = trust_metrics([1, 2], [0, 1])
    assert list(got) == list(METRICS) == keys
    assert all(type(value) is float for value in got.values())


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
def test_each_metric_has_a_short_label_and_a_meaning_in_one_sentence(metric):
    assert 0 < len(metric.label) <= 12
    assert metric.meaning[0].isupper()
    assert metric.meaning.endswith(".")
    assert metric.meaning.count(". ") == 0


def test_no_two_metrics_share_a_label():
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)


@pytest.mark.parametrize(("name", "metric"), METRICS.items(), ids=METRICS.keys())
def test_each_metric_improves_in_the_direction_it_states(name, metric):
    correct = np.arange(10) < 7
    sign = np.where(correct, 1.0, -1.0)
    perfect, reverse = trust_metrics(sign, correct)[name], trust_metrics(-sign, correct)[name]
    assert {True: perfect > reverse, False: perfect < reverse, None: perfect == reverse}[metric.higher_is_better]
