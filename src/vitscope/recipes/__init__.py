"""The composition root: a recipe (YAML) becomes model, data, augmentation and training, and a run folder becomes a trained model."""
