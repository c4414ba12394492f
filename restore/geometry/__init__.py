"""Plane geometry of faces: the FFHQ template and similarities; numpy only."""
