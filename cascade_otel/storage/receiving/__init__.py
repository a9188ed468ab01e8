"""From a socket to a segment: what is acknowledged is durable."""
