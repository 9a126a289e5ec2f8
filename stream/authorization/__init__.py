"""Reads keys, rules and roles, and keeps the policies of access current while a process runs."""
