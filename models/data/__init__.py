"""Data: read files, URLs and pipes as rows and as record batches."""
