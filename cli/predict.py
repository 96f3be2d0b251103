"""`trustcache predict`: class, trust score and verdict for new images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trustcache.deploy.answering import Answering, Failing
from trustcache.errors import TrustcacheError

from .calibrate import RUN
from .program import Place, command, print_line, say


@command("predict")
def predict(
    place: Place,
    run: Annotated[str, typer.Argument(help=f"{RUN}.")],
    paths: Annotated[list[Path], typer.Argument(help="Image files, folders of them, or .tar files.")],
    asked: Answering,
    failing: Failing,
) -> None:
    """A line an image: path, class, probability, trust score, and whether to trust it by the run's threshold.

    Without a threshold from trustcache calibrate, a score above 0 is trusted. An image that cannot be read gives a
    line with the error, and the rest goes on. Where scores no longer look like those that the threshold was calibrated
    on, an alarm says from which image on nothing is promised; each call begins anew.
    """
    from trustcache.cache.workspace import Workspace
    from trustcache.deploy.predict import WRITERS, Pictures, Tally, groups_of
    from trustcache.deploy.scorers import find_scorer
    from trustcache.deploy.sets import stored_sets
    from trustcache.deploy.trusted import TrustedClassifier

    images = Pictures(paths, note=say)
    workspace, sets = Workspace(place.workspace), None
    if asked.sets:  # before the networks are read: there may be none
        sets = stored_sets(workspace, find_scorer(workspace, run, asked.classifier), place.given())
    trusted = TrustedClassifier.load(place.workspace, run, classifier=asked.classifier, device=asked.device)
    trusted.sets = sets
    if trusted.threshold is None:
        line = find_scorer(workspace, run, asked.classifier).calibration_line(place.given())
        say(f"no threshold is calibrated, so a score above 0 is trusted; set one with {line}")
        say("with --max-risk in place of --coverage it promises how much of what is trusted is wrong at most")
    groups = groups_of(images, asked.groups) if asked.groups else None
    tally = Tally(trusted, say, paths)
    answers = tally.of(trusted.of_files(images, groups=groups, batch_size=asked.batch_size, workers=asked.workers))
    for line in WRITERS[asked.format](answers):
        print_line(line, kept="\n\t")
    for line in tally.summary():
        say(line)
    if sets:
        say(f"sets: {sets.promise}")
    if failing.strict and tally.errors:
        raise TrustcacheError(
            f"{tally.errors:,} of {tally.images:,} images have no answer, as their lines say; replace them, or leave "
            "out --strict"
        )
    if failing.fail_on_alarm and tally.alarm:
        remedy = "calibrate on images like these"
        if tally.by_order:
            remedy = "shuffle them if they are sorted, else look at those from where it began"
        raise TrustcacheError(f"{run}: the alarm was raised; {remedy}, or leave out --fail-on-alarm")
