"""Connects GitHub as an App: github.com, SUBDOMAIN.ghe.com and Enterprise Server."""
