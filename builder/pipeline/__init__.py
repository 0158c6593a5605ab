"""The only package that knows all stages, the workers and the stop/continue policy."""
