"""Speed, measured: the same ViT in vitscope and in other libraries, in one run, beside what the machine itself can do.

In goes a plan, out comes a result that the command prints, draws and writes. Only this folder imports the peers, and only inside the
processes that measure them.
"""
