"""How long a step takes: operations timed one by one on this machine, or bounded by a device's data sheet."""
