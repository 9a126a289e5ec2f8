"""The mapping from documents and columns of any format to the id, the time, the key, the model and the row of an event."""
