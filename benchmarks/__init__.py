"""NumPy against PyTorch on the same CPU: `python -m benchmarks --help`."""
