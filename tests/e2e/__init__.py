"""The main job as its users run it: the real program, real kernels, real dnf."""
