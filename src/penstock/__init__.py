"""Penstock: a video is uploaded once and then streams adaptively to any player."""

__version__ = "0.1.0"
