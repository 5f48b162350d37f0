"""``tfocheck doctor``: Fast Open seen from inside a server, without changing anything on it."""
