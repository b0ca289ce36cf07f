"""Two hand-written ViTs that print as equally reasonable models. Their owner calls one good and the other not good; see `faults`."""
