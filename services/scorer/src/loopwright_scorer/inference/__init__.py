"""The core: a request of tensors in, an answer of tensors out, whatever the protocol."""
