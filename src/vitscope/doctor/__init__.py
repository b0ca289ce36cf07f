"""Examining any ViT `nn.Module` by how it behaves: a copy of it (`copying`) is made a `patient`, each check is an experiment on it, and what the
checks find (`finding`) is put in order, causes first (`examination`). One folder for each kind of check; `loop` watches a training."""
