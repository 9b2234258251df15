"""patchword: design, size, train, compare and ship multimodal transformers from one typed configuration."""

__version__ = "0.1.0"
