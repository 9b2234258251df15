"""Predicted memory against two independent measurements of it."""
