"""The messages of V2 over gRPC; `make proto` compiles inference.proto."""
