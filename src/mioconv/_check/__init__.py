"""What a user says of a call: sizes, strides and flags, parsed and checked."""
