"""The world outside of this process."""
