"""genner as a part of other tools: they call it, one module for each. Each needs its tool's package (an extra)."""
