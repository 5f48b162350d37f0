"""What packets are: options, segments, ICMP quotes. Pure: no clock, no socket, no task."""
