"""One run of a model on tensors without contents, written down operation by operation and summed up."""
