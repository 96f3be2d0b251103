"""`trustcache demo`: the whole program on data that ships with scikit-learn."""

from __future__ import annotations

from typing import Annotated

import typer

from .program import Output, Place, command, console, say, terminal


@command("demo")
def demo(
    place: Place,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser at the end.")] = False,
) -> Output:
    """Both stages on scikit-learn's digits, nothing to download: classifier, cache, oracles of every kind, report."""
    say("Fits a small classifier on handwritten digits, caches what it says, and trains oracles that tell when it is")
    say("right: five losses as heads and as fine-tuned networks, and the strong preset, three seeds each.")
    from trustcache.cache.workspace import Workspace
    from trustcache.command_lines import command_line
    from trustcache.paper.artefacts import PAPER
    from trustcache.paper.demo import run_demo
    from trustcache.report.build import report
    from trustcache.report.document import document
    from trustcache.report.render.terminal import print_answers

    workspace = Workspace(place.workspace)
    run_demo(workspace, place.data_root, console)
    made = report(workspace, [PAPER], (), place.given(), console, place.data_root)
    page = workspace.report / "index.html"
    if open_page:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    again = [command_line("report", *place.given())]
    return Output(document(made), lambda: print_answers(made.contents.answers, terminal(), str(page), again))
