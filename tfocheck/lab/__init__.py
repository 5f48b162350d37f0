"""Network namespaces on this machine with a TCP server to grade, gone when the command ends."""
