"""Models on disk, Path in and Path out: each file or folder is written whole or not at all (`files.whole`)."""
