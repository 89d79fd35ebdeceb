"""The path of a call, without Python objects: entry, choice, run, and what follows."""
