"""Whole clusters in one process, in simulated time, with the production core."""
