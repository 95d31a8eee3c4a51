"""Connects GitLab, on gitlab.com or self-managed."""
