"""Fakes of pycuda.driver 2026.1, as its source (boost.python over the driver API) has it."""
