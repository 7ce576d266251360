"""What computes in the scorer's process is watched from another, and kept out once it did harm."""
