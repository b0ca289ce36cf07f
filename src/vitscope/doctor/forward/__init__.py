"""Checks on the forward as a whole: that it runs, says the same twice, keeps the images of a batch apart, and gives scores."""
