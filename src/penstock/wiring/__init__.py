"""Builds the parts from settings, and runs them as processes. Everything below is told what it needs; nothing asks."""
