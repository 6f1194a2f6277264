"""The boundary to llama.cpp: many requests at once through one context (`engine.Engine`)."""
