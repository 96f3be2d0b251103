"""Stage one: run a frozen classifier once over images, and keep everything: on disk, or for Python in memory."""
