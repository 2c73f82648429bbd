"""Vendors, one folder each; nothing above or beside them knows their names."""
