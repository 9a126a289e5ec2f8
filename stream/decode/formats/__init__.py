"""Formats of payloads: each turns bytes into documents and columns, without knowing models or mappings."""
