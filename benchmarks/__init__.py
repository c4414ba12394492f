"""Measurements that print what the docs quote."""
