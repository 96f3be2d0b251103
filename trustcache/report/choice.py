"""Choose a classifier's oracle by what its training held out, beside the classifier's own confidence on the same rows.

Evaluation data take no part. Oracles that held out rows of different data are comparable by how far they are from mcp
on their own rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trustcache.cache import open_cache
from trustcache.cache.index import Index
from trustcache.cache.workspace import Workspace
from trustcache.errors import TrustcacheError
from trustcache.evaluate.sweep import CRITERION, Metrics, mean_metrics, reference, standing
from trustcache.metrics.ranking import METRICS
from trustcache.oracles.runs import Run, RunConfig
from trustcache.report.comparison import Average
from trustcache.report.kept import Kept, key_of
from trustcache.report.names import BASELINE, entry_name
from trustcache.scores import post_hoc_score

_SHAPE = (1,)
_LABEL = METRICS[CRITERION].label


@dataclass(frozen=True)
class Family:
    """Runs that differ in their seed only. held_out: their mean metrics on the rows each held out; mcp: its own there.

    Either is {} where it is not known.
    """

    row: Average
    held_out: Metrics
    mcp: Metrics

    @property
    def standing(self) -> float:
        """The figure to choose by where mcp's is not known; lower is better."""
        return standing(self.held_out)

    @property
    def lead(self) -> float:
        """That figure less mcp's on the same rows, below 0 where the oracle is better."""
        return standing(self.held_out) - standing(self.mcp)


@dataclass(frozen=True)
class Choice:
    """The family that was chosen, None for mcp, and a phrase that says by what."""

    family: Family | None
    by: str


def families(rows: Sequence[Average], runs: dict[str, Run], workspace: Workspace) -> list[Family]:
    """Return the trained rows of a comparison with what their runs held out. runs: by name."""
    found = []
    references = _References(workspace)
    for row in rows:
        seeds = [runs[record.run] for record in row.records if record.run]
        if seeds:
            held_out = mean_metrics([run.held_out for run in seeds])
            found.append(Family(row, held_out, mean_metrics([references.of(run.config) for run in seeds])))
    references.save()
    return found


def choose(found: Sequence[Family]) -> Choice:
    """Choose the family of the best held-out figure, or mcp where that is better on the same rows."""
    known = [family for family in found if family.held_out.get(CRITERION) is not None]
    if not known:
        if len(found) == 1:
            return Choice(found[0], "being the only oracle: it held nothing out to choose by")
        what = "no oracle held anything out to choose by" if found else "no oracle is trained"
        return Choice(None, f"default, as {what}")
    compared = all(family.mcp.get(CRITERION) is not None for family in known)
    best = min(known, key=lambda family: family.lead if compared else family.standing)
    value = f"validation {_LABEL} {100 * best.standing:.2f} %"
    among = f"best of {len(known)} oracles" if len(known) > 1 else "the only oracle"
    if not compared:
        return Choice(best, f"{value} ({among})")
    mcp = f"{100 * standing(best.mcp):.2f} %"
    if best.lead < 0:
        return Choice(best, f"{value} ({among}; {BASELINE} on the same rows {mcp})")
    name = entry_name(best.row.record, with_oracle=False)
    return Choice(
        None, f"validation {_LABEL} {mcp} (no oracle is better; {name} on the same rows {value.split()[2]} %)"
    )


class _References:
    """The figure of mcp on the rows that runs held out, kept for the next report."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace, self._caches = workspace, workspace.caches()
        self._kept: dict[Path, Kept] = {}
        self._scores: dict[Path, np.ndarray] = {}
        self._found: dict[str, Metrics] = {}

    def of(self, config: RunConfig) -> Metrics:
        """Return mcp's metrics on what a run held out, {} where its training cache is gone or cannot be read."""
        key = key_of([config.cache, config.part, config.samples, config.val_fraction, config.seed, config.protocol])
        if key not in self._found:
            try:
                self._found[key] = self._read(config, key)
            except TrustcacheError:  # extract and verify name it
                self._found[key] = {}
        return self._found[key]

    def _read(self, config: RunConfig, key: str) -> Metrics:
        here = (i for i in self._caches if (i.classifier, i.data) == (config.classifier, config.data))
        index = next((index for index in here if index.fingerprint() == config.cache), None)
        if index is None or not config.val_fraction:
            return {}
        place = self._workspace.figures_file(index.classifier, index.data)
        kept = self._kept.setdefault(place, Kept(place))
        value = kept.get(key, _SHAPE.__eq__)
        if value is None:
            found = reference(open_cache(index.folder), self._z(index), config).get(CRITERION)
            value = np.array([np.nan if found is None else found])
            kept.put(key, value)
        return {CRITERION: float(value[0]) if np.isfinite(value[0]) else None}

    def _z(self, index: Index) -> np.ndarray:
        if index.folder not in self._scores:
            self._scores[index.folder] = post_hoc_score(BASELINE, open_cache(index.folder))
        return self._scores[index.folder]

    def save(self) -> None:
        """Write what is new."""
        for kept in self._kept.values():
            kept.save()
