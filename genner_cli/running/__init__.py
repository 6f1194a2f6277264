"""A run: documents in, records out, as one value (`spec`) says, with a model that a backend opens.

`backend` is the protocol, and what an opened model says of itself; `llama` runs llama.cpp in this process, `supervised`
in a child (`child`) that is started again when it dies. `local` writes the records of a run, resuming what an earlier
one left; `stopping` ends it at a signal. Knows nothing of the terminal.
"""
