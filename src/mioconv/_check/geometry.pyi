# Nothing of this module is visible to Python: its functions are for the other compiled modules.
