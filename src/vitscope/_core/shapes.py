"""The shape letters, once. Every annotation and comment of `model/` uses these and no others.

    B  images in a batch          N  patches of an image           D  width of a token
    C  channels                   T  tokens: N + prefix tokens     K  heads
    H  image height               P  patch side (Ph, Pw where      E  width of a head (D / K)
    W  image width                   the two differ)               M  width of the MLP
    L  encoder blocks (layers)    R  register tokens               Y  classes
                                  G  patches along one side (Gh down, Gw across)

    TR    T + R, once the registers have joined
    Tnew  T of another grid, when a position embedding is resized
    Tq    tokens that ask, where they are not all T
    Tk    tokens that are kept in training, where not all T are
    D3    queries, keys and values side by side: 3 times D

Where there are no tokens (`data`, `augment`), N and M count images, and a word or a small letter is a length of that one place.
The annotations are checked (jaxtyping and beartype) while the tests run, never in use.
"""

from __future__ import annotations
