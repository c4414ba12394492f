"""Faces in photos: detection, alignment, masks, paste-back; numpy and OpenCV only."""
