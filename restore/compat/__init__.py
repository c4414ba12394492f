"""Adapters for users of the peers; nothing below imports them."""
