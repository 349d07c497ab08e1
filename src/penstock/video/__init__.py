"""The domain: what a video is, which states it may be in, what it will become. Standard library only, no I/O."""
