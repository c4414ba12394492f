"""Runtimes: one model, crops in, crops and estimates out."""
