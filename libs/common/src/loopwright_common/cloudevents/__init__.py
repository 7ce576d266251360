"""Events as CloudEvents records: codec, inference batches, schemas, one-line summaries."""
