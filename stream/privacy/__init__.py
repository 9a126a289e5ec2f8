"""Personal data: detectors with checksums, what is done with what they find, and judgements about topics. Pure."""
