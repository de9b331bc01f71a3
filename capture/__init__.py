"""Frames in: capture sources, the shared-memory ring, the capture process.  Imports nothing else of ours."""
