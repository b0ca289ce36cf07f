"""The check of attention itself: its softmax, its scale, its weights."""
