"""What is done to a video, one file a step. Knows nothing of how work is spread."""
