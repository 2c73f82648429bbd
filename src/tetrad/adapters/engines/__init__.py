"""Engines: servers of models that we start, watch, drain and stop."""
