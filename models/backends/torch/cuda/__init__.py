"""Models of torch on CUDA devices: calls that overlap, with pinned memory, captured graphs and streams of their own."""
