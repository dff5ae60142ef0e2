"""The engine of NVIDIA GPUs: TensorRT 10 and 11, over pycuda. Importing the package needs neither of them.

Everything here is built against the real bindings and run on a simulator of them; what has run on a GPU is told in
docs/gpu.md.
"""
