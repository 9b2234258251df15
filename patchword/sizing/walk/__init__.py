"""One batch walked through a model, step by step, for people."""
