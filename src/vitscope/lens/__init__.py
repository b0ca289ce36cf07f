"""Looking inside any ViT `nn.Module`: a tape of one forward (`tape`), the attentions on it with their proof (`attention`), what is what
(`anatomy`, `layout`), and every intermediate by name (`trace`)."""
