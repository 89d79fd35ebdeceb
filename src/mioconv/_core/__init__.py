"""The path of a call, without Python objects: plan, choose, run, and what follows a convolution."""
