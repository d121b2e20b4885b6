"""How operations are fast: layouts, chunks on threads, memory used again, and Winograd."""
