"""Many photos: a folder or object-store prefix restored on a cluster, over Ray Data."""
