"""Make models smaller and faster, measure what that changes, and register what keeps its promises."""
