"""The five tabs, a folder each, with the cards inside it."""
