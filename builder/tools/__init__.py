"""One module an external program: argv in, model value out. Only tools/run.py starts processes."""
