"""The Merge tab: knobs, live preview, history, and searches over knobs."""
