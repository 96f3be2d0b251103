"""Gathering what a report shows: every run's and every post-hoc score's figures on every evaluation cache."""

from __future__ import annotations

import math
import warnings
from collections.abc import Set
from dataclasses import replace

import numpy as np

from trustcache.cache import CacheView, open_cache
from trustcache.cache.index import Index
from trustcache.errors import TrustcacheError, UsageError
from trustcache.heads import LINEAR
from trustcache.oracles import other_half
from trustcache.pairs import lacking, scorable
from trustcache.plain_data import fingerprint
from trustcache.progress import Progress, silent
from trustcache.protocols import PROTOCOLS
from trustcache.report.records import Origin, Record, Scored
from trustcache.runs import Run, finished_runs
from trustcache.scores import POST_HOC
from trustcache.scores.stored import ScoreStore, StoredScore
from trustcache.selective import risk_coverage
from trustcache.workspace import Workspace

BINS = 40
CURVE_POINTS = 300
_DATA = "\0"  # where a data set's name goes, as no name can read
_MOST_NAMED = 3
_HEAD_SETTINGS = ("hidden", "dropout", "input_dropout", "weight_decay", "patience")


def collect(workspace: Workspace, progress: Progress = silent) -> tuple[list[Scored], list[str]]:
    """Everything scored in a workspace, and the gaps: sentences that name what is missing and what fills it.

    Scores that need nothing but logits are made where they are missing, the others by `evaluate`.

    Raises UsageError where there is nothing to report on.
    """
    caches = workspace.caches()
    indices = [index for index in caches if index.role == "test"]
    if not indices:
        raise UsageError(
            f"nothing to report: {workspace.root / 'cache'} holds no evaluation data; "
            "begin with trustcache extract --classifier vit, or trustcache demo"
        )
    runs, store = finished_runs(workspace), ScoreStore(workspace)
    settings, (rows, notes) = _told_apart(runs), _rows_by_fingerprint(caches)
    found: list[Scored] = []
    notes += _parts(indices)
    gaps: dict[str, list[str]] = {}  # sentences with a place for a data set's name, and the names
    for index in indices:
        try:
            cache = open_cache(index.folder)
        except TrustcacheError as error:
            notes.append(f"{index.data} is left out: {error}")
            continue
        post_hoc, refused = _post_hoc(store, index, progress)
        notes += refused
        for gap in _post_hoc_gaps(store, index, POST_HOC.keys() - post_hoc):
            gaps.setdefault(gap, []).append(index.data)
        for name in [name for name, stored in post_hoc.items() if np.isnan(stored.z).any()]:
            del post_hoc[name]
            folder = workspace.scores_folder(index.classifier, index.data)
            notes.append(_without_numbers(name, index.data, f"{folder / name}.h5 and run `trustcache evaluate`"))
        here = [run for run in runs if run.config.classifier == index.classifier]
        judging = [run for run in here if run.judges(index)]
        # Beside oracles, a score that needs no training is shown by the same definitions.
        protocols = sorted({"equations", *(run.config.protocol for run in judging)})
        found += [_scored_post_hoc(name, s, cache, protocol) for protocol in protocols for name, s in post_hoc.items()]
        if strangers := len(here) - len(judging):
            gap = f"{strangers} runs judge another {index.classifier} than the one {_DATA} was extracted with; "
            gaps.setdefault(f"{gap}train them again", []).append(index.data)
        apart = [run for run in judging if not run.config.mixed_up(index, caches)]
        scored = {run: z for run in apart if (z := run.scores(index)) is not None}
        unseen = {run: run.unseen(cache, caches) for run in scored}
        found += _confidence_on_halves(post_hoc, cache, unseen)
        for run, z in scored.items():
            if np.isnan(z[unseen[run]]).any():
                notes.append(_without_numbers(run.name, index.data, f"{run.folder} and train it again"))
            else:
                learnt_from = rows.get(run.config.cache, 0)
                found.append(_scored_run(run, settings[run.name], z, cache, unseen[run], learnt_from))
        unscored = [run for run in judging if run not in scored]
        able = [run for run in unscored if scorable(run.config, index, caches)]
        notes += dict.fromkeys(lacking(run.config, index, caches) for run in unscored if run not in able)
        if able:
            gap = f"{len(able)} runs are not scored on {_DATA}: run `trustcache evaluate`"
            gaps.setdefault(gap, []).append(index.data)
    notes += [gap.replace(_DATA, _named(data)) for gap, data in gaps.items()]
    if not runs:
        notes.append("No oracle has been trained: run `trustcache train --loss all --frozen`")
    if not found:
        raise UsageError(f"nothing to report: {notes[0]}")
    return found, notes


def _post_hoc(store: ScoreStore, index: Index, progress: Progress) -> tuple[dict[str, StoredScore], list[str]]:
    """The post-hoc scores of a cache, those of logits alone made first, and why some of these could not be kept."""
    refused = []
    try:
        store.fill([index], logits_only=True, progress=progress)
    except TrustcacheError as error:
        refused.append(str(error))
    return {name: stored for name in POST_HOC if (stored := store.read(index, name)) is not None}, refused


def _without_numbers(name: str, data: str, what: str) -> str:
    return f"{name} is left out on {data}: its stored scores are not numbers; remove {what}"


def _named(data: list[str]) -> str:
    """Some data sets in a sentence: by name, of many only the first."""
    names = list(dict.fromkeys(data))
    return ", ".join(names) if len(names) <= _MOST_NAMED else f"{names[0]} and {len(names) - 1} more data sets"


def _parts(indices: list[Index]) -> list[str]:
    """Of which data sets only a part was extracted, a sentence for each size."""
    sizes: dict[str, list[Index]] = {}
    for index in indices:
        if index.part:
            sizes.setdefault(index.part, []).append(index)
    told = []
    for part, those in sizes.items():
        data, classifiers = ({i.manifest().family for i in those}, {i.classifier for i in those})
        told.append(
            f"only {part} images were extracted of {', '.join(sorted(data))} for {', '.join(sorted(classifiers))}"
        )
    return told


def _post_hoc_gaps(store: ScoreStore, index: Index, absent: Set[str]) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for name in store.applicable(index):
        if name in absent:
            reason = store.why_not(index, name) or f"not made on {_DATA} yet: run `trustcache evaluate`"
            reasons.setdefault(reason, []).append(name)
    return [f"{', '.join(names)} left out: {reason}" for reason, names in reasons.items()]


def _scored_post_hoc(name: str, stored: StoredScore, cache: CacheView, protocol: str) -> Scored:
    record = _record(cache, protocol, None, name, None, stored.settings, None)
    scored = _with_figures(record, stored.z, cache.correct, None, Origin(cache.index))
    if POST_HOC[name].natural_zero:
        return scored
    # Nothing happens at 0 in such a score: what lies above it would be a made-up number.
    record.metrics.update(tpr=math.nan, tnr=math.nan)
    return replace(scored, histogram=None)


def _confidence_on_halves(
    post_hoc: dict[str, StoredScore], cache: CacheView, unseen: dict[Run, np.ndarray]
) -> list[Scored]:
    """The classifier's own confidence on those halves of a cache that runs fitted on the other are scored on."""
    halves = {}
    for run, rows in unseen.items():
        if "mcp" in post_hoc and not rows.all():
            halves[run.config.protocol, other_half(run.config.part)] = rows
    found = []
    for (protocol, half), rows in halves.items():
        record = _record(cache, protocol, None, "mcp", None, {"rows": half}, None)
        record = replace(record, n=int(rows.sum()))
        found.append(_with_figures(record, post_hoc["mcp"].z[rows], cache.correct[rows], None, Origin(cache.index)))
    return found


def _told_apart(runs: list[Run]) -> dict[str, dict[str, float | str]]:
    """By run, the settings of its loss, and those of its training in which runs of one loss and way differ.

    Without these, runs that learnt for 20 epochs and for 40 would be averaged as if they were seeds of one.
    """
    alike: dict[tuple[str, ...], list[tuple[Run, dict[str, float | str]]]] = {}
    for run in runs:
        c = run.config
        told: dict[str, float | str] = {
            "data": c.data,
            "cache": c.cache[:8],  # the same data, extracted anew
            "head": c.head.label,
            "rows": other_half(c.part) if c.part else "",
            "also": ",".join(c.also),
            **{key: getattr(c.head, key) for key in _HEAD_SETTINGS},
            "start": c.start.rpartition("-seed")[0],
            "backbone": fingerprint(c.backbone)[:8],
            "signed_distance": str(c.signed_distance).lower(),
            "val_fraction": c.val_fraction,
            "epochs": c.optimiser.epochs,
            "batch_size": c.optimiser.batch_size,
            "lr": c.optimiser.lr,
            "momentum": c.optimiser.momentum,
            "optimiser": c.optimiser.name,
            "warmup_steps": "30%" if c.optimiser.warmup_steps is None else c.optimiser.warmup_steps,
            "cycle_momentum": str(c.optimiser.cycle_momentum).lower(),
        }
        alike.setdefault((c.judged, c.oracle, c.protocol, c.training, c.loss.name), []).append((run, told))
    settings = {}
    for group in alike.values():
        differing = [key for key in group[0][1] if len({told[key] for _, told in group}) > 1]
        for run, told in group:
            # What a head looks at, and half the data, no reader should take for the usual, whatever else is there.
            unusual = {
                key: told[key]
                for key, usual in (("head", LINEAR.label), ("rows", ""), ("also", ""))
                if told[key] != usual
            }
            settings[run.name] = run.config.loss.settings | unusual | {key: told[key] for key in differing}
    return settings


def _rows_by_fingerprint(caches: list[Index]) -> tuple[dict[str, int], list[str]]:
    """How many rows training caches have, and the sentences that say of which ones this cannot be read."""
    rows, unread = {}, []
    for index in caches:
        if index.role == "train":
            try:
                rows[index.fingerprint()] = sum(record.rows for record in index.records())
            except TrustcacheError as error:
                unread.append(f"how many samples of {index.data} runs learnt from is not known: {error}")
    return rows, unread


def _scored_run(
    run: Run, settings: dict[str, float | str], z: np.ndarray, cache: CacheView, rows: np.ndarray, learnt_from: int
) -> Scored:
    record = _record(
        cache, run.config.protocol, run.config.oracle, run.config.loss.name, run, settings, run.config.seed
    )
    record = replace(record, n=int(rows.sum()))
    negative = negative_threshold(run.config.loss.name, cache[:1].logits.shape[1])
    return _with_figures(record, z[rows], cache.correct[rows], negative, Origin(cache.index, run, learnt_from))


def negative_threshold(method: str, classes: int) -> float | None:
    """Below which trust confidence a method calls a sample untrustworthy; None where that is one half.

    TCP regresses a probability, and calls a sample untrustworthy below chance level (Corbiere et al. 2019).
    """
    return 1 / classes if method == "tcp" else None


def _record(
    cache: CacheView,
    protocol: str,
    oracle: str | None,
    method: str,
    run: Run | None,
    settings: dict[str, float | str],
    seed: int | None,
) -> Record:
    return Record(
        dataset=cache.index.data,
        classifier=cache.index.classifier,
        oracle=oracle,
        method=method,
        training=run.config.training if run else None,
        protocol=protocol,
        seed=seed,
        n=len(cache),
        settings=settings,
        metrics={},
        run=run.name if run else None,
    )


def _with_figures(
    record: Record, z: np.ndarray, correct: np.ndarray, negative_threshold: float | None, origin: Origin
) -> Scored:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # undefined metrics stand as gaps in the tables
        metrics = PROTOCOLS[record.protocol].metrics
        record.metrics.update(metrics(z, correct, negative_threshold=negative_threshold))
    curve = risk_coverage(z, correct)
    kept = np.unique(np.linspace(0, len(curve.coverage) - 1, CURVE_POINTS).round().astype(int))
    return Scored(record, confidence_histogram(z, correct), curve.coverage[kept], curve.risk[kept], origin)


def confidence_histogram(z: np.ndarray, correct: np.ndarray, bins: int = BINS) -> dict[str, np.ndarray]:
    """Counts of TP, FP, TN, FN in equal bins of p = sigmoid(z) over [0, 1] (the paper's Fig. 3); trusted is z > 0."""
    confidence = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
    trusted, right = z > 0, correct.astype(bool)
    groups = {"TP": trusted & right, "FP": trusted & ~right, "TN": ~trusted & ~right, "FN": ~trusted & right}
    return {name: np.histogram(confidence[rows], bins, (0, 1))[0] for name, rows in groups.items()}
