"""The kernel's side: raw sockets, capture, guarded ports, namespaces, privileges."""
