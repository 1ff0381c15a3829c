"""Compare files by content: `files` maps suffixes to modules in `kinds`, `tolerance` holds the settings."""
