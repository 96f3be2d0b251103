"""Commands that must succeed, in this process."""

from __future__ import annotations

import multiprocessing

import pytest
from typer.testing import CliRunner, Result

from cli import app
from trustcache.cache.workspace import Workspace


def call(workspace: Workspace, *words: str) -> Result:
    """Run a command in a workspace, and return what it printed."""
    done = CliRunner().invoke(app, [*words, "--workspace", str(workspace.root)])
    assert done.exit_code == 0, done.output
    return done


inherited = pytest.mark.skipif(
    multiprocessing.get_all_start_methods()[0] != "fork", reason="decoding processes inherit nothing here"
)
"""Of tests whose decoding processes see what is replaced, or share memory: where they are forked (Linux, to 3.13)."""
