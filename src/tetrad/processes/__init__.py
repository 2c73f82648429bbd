"""Composition roots: the only places that know which parts make a process."""
