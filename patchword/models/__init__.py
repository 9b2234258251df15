"""Whole models. Nothing is imported here: presets and `show` answer without torch."""
