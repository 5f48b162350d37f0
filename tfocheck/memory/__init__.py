"""The other wire: servers, paths and time in memory, without a kernel and without waiting."""
