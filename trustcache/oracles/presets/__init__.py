"""Presets: hyperparameters by name, as TOML files that a user can print, change and pass instead."""
