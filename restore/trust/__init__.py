"""Does the person stay the person: identity, statuses and what to do about them."""
