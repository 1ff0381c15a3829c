"""Files compared by content: `files` knows their kinds, each with a module; `tolerance` says how exactly."""
