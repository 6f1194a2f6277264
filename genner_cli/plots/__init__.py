"""The boundary to drawing, and the only home of matplotlib: figures -> SVG plots, and a page around them.

Knows nothing of files, models and the terminal.
"""
