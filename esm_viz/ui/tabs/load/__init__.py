"""The Load tab: files brought, judged and opened."""
