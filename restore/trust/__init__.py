"""How far a restored face may be trusted: identity, status, policies."""
