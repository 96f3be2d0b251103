"""Commands that must succeed, in this process."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from cli import app
from trustcache.cache.workspace import Workspace


def call(workspace: Workspace, *words: str) -> Result:
    """Run a command in a workspace, and return what it printed."""
    done = CliRunner().invoke(app, [*words, "--workspace", str(workspace.root)])
    assert done.exit_code == 0, done.output
    return done
