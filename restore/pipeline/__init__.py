"""A photo in, a restored photo and a report out."""
