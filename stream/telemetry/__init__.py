"""What the worker tells the outside about itself: metrics, traces, and where its log lines go."""
