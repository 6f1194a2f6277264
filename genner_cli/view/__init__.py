"""Predictions beside gold -> what people look at: one page for a browser. Knows nothing of models and terminals."""
