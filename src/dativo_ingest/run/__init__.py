"""One run: plan, pipeline, channel, report."""
