"""Peers: other libraries that train on a CPU, each measured in an environment of its own."""
