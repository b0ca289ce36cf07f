"""Checks on how tokens meet: who sees whom, and by what attention."""
