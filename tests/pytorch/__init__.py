"""mioconv.torch. Not named after PyTorch's own package, which it would hide from `import torch`."""
