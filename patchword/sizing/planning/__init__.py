"""What fits where: devices, the largest batch, ranks, hours and cost."""
