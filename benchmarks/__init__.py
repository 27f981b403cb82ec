"""Side by side with the peers, in one run: ratios of medians, for single times mean little."""
