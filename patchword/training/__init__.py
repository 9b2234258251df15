"""Training: one loop that survives being killed, and the folder that it leaves."""
