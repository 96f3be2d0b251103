"""Data sets: manifests, the layouts of their files, samples, variants made on the fly, and batches."""
