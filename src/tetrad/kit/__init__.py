"""Toolbox without domain words. Import the module you need; this package imports none of them."""
