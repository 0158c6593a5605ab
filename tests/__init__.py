"""repobuild's tests; tests/lab makes the distribution, kernels and drivers they run on."""
