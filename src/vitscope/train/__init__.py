"""Training any `nn.Module`: settings (`spec`), durations, parameter groups, optimizer, schedule, the loop (`fit`), evaluation, checkpoints."""
