"""The page: header, tabs, updates, share links, and the sessions that pages open with."""
