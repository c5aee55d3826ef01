"""Where the real clips are: beside the repository, and not part of it."""

from pathlib import Path

SHARED_MEDIA = Path(__file__).parents[3] / "shared" / "media"
