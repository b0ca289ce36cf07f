"""Checks on the encoder blocks: what passes through them, what they are made of, what flows back."""
