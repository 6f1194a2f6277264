"""Named entity recognition with generative language models, offline, in batch, on one's own machine."""

__version__ = "0.1.0"
