"""The page of `restore ui`: photos dropped, compared, tuned and saved, on this machine alone."""
