"""The renderers: each shows any table, and a whole report, in one format."""
