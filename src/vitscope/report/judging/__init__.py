"""Trained runs, one or several beside each other: `seen` reads and measures, `pictures` finds the images that tell most, `page` shows it."""
