"""Running cases: one address, and many targets."""
