"""The job file: YAML to frozen models, errors with file, line and column."""
