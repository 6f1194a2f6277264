"""Learning: the border to torch and transformers."""
