"""Image files and pixel conversions, numpy, OpenCV and Pillow only."""
