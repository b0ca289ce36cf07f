"""The Vision Transformer: its settings (`spec`), its parts, the whole of it on one screen (`vit`), its start values (`init`),
its size in closed form (`size`), its pipeline in words (`pipeline`), and the two specimens."""
