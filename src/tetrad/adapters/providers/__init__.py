"""The protocols that upstreams speak."""
