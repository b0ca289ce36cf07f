"""What a trace shows: each view is a function from a trace to numbers with a caveat (`attending`, `tokens`, `embedding`, `experiments`,
`attribution`), and from numbers to a figure (`figures`)."""
