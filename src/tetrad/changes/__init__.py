"""Change requests: patches of parts that are proposed for a ref, talked about, approved and merged."""
