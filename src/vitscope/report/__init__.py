"""Pages: what a trace or a run shows, as one HTML file that opens from the disk and asks no network for anything."""
