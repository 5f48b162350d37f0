"""A server as the subject: what the cases of servers use."""
