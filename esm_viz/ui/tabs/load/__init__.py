"""The Load tab: choosing, checking and opening files."""
