"""From maps to boxes and accuracies: arrays in, numbers out; nothing else of the pipeline is imported."""
