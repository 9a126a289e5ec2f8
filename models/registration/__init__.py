"""Registration: read a trained model of any library and publish it as a version. Not part of a worker."""
