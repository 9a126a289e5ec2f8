"""Encrypted fields and values: compact JWE, the scope that binds a token to its place, and the keyring."""
