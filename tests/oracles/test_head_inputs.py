"""The inputs of heads, by name and as numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from trustcache.errors import UsageError
from trustcache.models.views import VIEWS, view_column
from trustcache.oracles.head_inputs import INPUTS, NAMED, columns_of, head_inputs, inputs_label, parse_inputs


def test_inputs_stand_side_by_side_in_one_order_whatever_was_asked_first() -> None:
    said = {"logits": torch.randn(5, 3), "features": torch.randn(5, 4).half(), "stages": torch.randn(5, 6)}
    said |= {view_column(view): torch.randn(5, 3) for view in VIEWS}
    log_probs = log_softmax(said["logits"].numpy(), axis=1)
    expected = [
        said["features"].float().numpy(),
        said["stages"].numpy(),
        log_probs,
        -np.sort(-log_probs, axis=1),
        np.eye(3)[log_probs.argmax(1)],
    ]
    for view in VIEWS:
        of_view = log_softmax(said[view_column(view)].numpy(), axis=1)
        agreed = of_view[np.arange(5), log_probs.argmax(1)][:, None]
        expected += [of_view, -np.sort(-of_view, axis=1), np.eye(3)[of_view.argmax(1)], agreed]
    x = head_inputs(parse_inputs(["all"]), said)
    assert x.dtype == torch.float32
    np.testing.assert_allclose(x, np.concatenate(expected, 1), rtol=1e-6, atol=1e-6)
    assert parse_inputs(["prediction", "stages"]) == parse_inputs(["stages", "prediction"]) == ("stages", "prediction")


def test_rows_do_not_depend_on_those_beside_them() -> None:
    said = {"logits": torch.randn(7, 3), "features": torch.randn(7, 4), "stages": torch.randn(7, 6)}
    said |= {view_column(view): torch.randn(7, 3) for view in VIEWS}
    one = head_inputs(tuple(INPUTS), {name: column[2:3] for name, column in said.items()})
    torch.testing.assert_close(one, head_inputs(tuple(INPUTS), said)[2:3])


def test_every_part_is_documented_and_comes_from_a_column_of_the_cache() -> None:
    assert set(columns_of(tuple(INPUTS))) == {"features", "stages", "logits", *map(view_column, VIEWS)}
    assert all(part.meaning for part in INPUTS.values())


def test_choices_have_names() -> None:
    assert [inputs_label(parse_inputs([name])) for name in NAMED] == list(NAMED)
    assert inputs_label(("features", "prediction")) == "features+prediction"
    assert columns_of(("log-probs", "prediction")) == ("logits",)
    with pytest.raises(UsageError, match=r"--inputs pixels: .*last, strong, all, .*, stages"):
        parse_inputs(["last", "pixels"])
