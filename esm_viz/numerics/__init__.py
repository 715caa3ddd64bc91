"""The mathematics of METHOD, as pure functions on tensors: float64 inside, no files, no task names.

Axes: T tasks, W (d_out, d_in), n tokens, r directions a task. Everything may live on any device.
"""
