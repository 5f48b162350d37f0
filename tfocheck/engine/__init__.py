"""Crafted TCP: connections, the lane that they share, round trips."""
