"""The cluster: topics, access control lists, groups, and diagnosing connections."""
