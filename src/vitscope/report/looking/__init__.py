"""One image through one model: `look` finds everything, `page` shows it, `files` writes it as pictures."""
