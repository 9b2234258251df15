"""How fast this is beside public libraries, measured side by side: `python -m benchmarks`."""
