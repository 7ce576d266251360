"""Tensors of a call, and the compiled signature that checks them."""
