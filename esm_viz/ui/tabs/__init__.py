"""The five tabs, in one folder each with its cards."""
