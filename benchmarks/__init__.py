"""The same work by repobuild and by a peer, in turn. ``python -m benchmarks --help``; docs/benchmarks.md."""
