"""Checks on what is read of the image: anything at all, every pixel, in patches, and where they are."""
