"""Checks that need a loss or a training of some steps."""
