"""What ./bench measures: a module for each part, each figure beside its limits and its peer in the same run."""
