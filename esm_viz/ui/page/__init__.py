"""The page as a whole: header, tabs and sessions put together, and what a page does when it opens."""
