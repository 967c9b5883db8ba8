"""Coding without loss: bits back, entropy coders of discrete levels, containers."""
