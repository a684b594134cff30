"""The benchmark behind scripts/bench: see `scripts/bench --help` and doc/benchmarks.md."""
