"""The endpoint we know: a server that keeps every line of the RFC, or breaks one. Pure."""
