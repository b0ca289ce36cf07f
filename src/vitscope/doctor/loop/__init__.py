"""Watching somebody's own training loop: `watch` is a `with` block around it, a `Recorder` sees what happens in it without changing any of it, and
the checks read the `Record` afterwards. One file for each kind of check; `checks` names them all."""
