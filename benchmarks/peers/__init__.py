"""camshard beside other tools, in turn, each in an environment of its own: `make bench-peers`."""
