# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=False
"""Writes the records of a batch of format 2 from columns. `kafka.producer.column_batch` adds the header of the batch.

The twin is the client's builder, which writes the same bytes.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy


cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    object PyBytes_FromStringAndSize(const char* text, Py_ssize_t size)
    char* PyBytes_AsString(object text) except NULL
    int PyBytes_AsStringAndSize(object text, char** begin, Py_ssize_t* size) except -1


cdef struct Text:
    const char* begin
    Py_ssize_t size  # -1 for null


def write(list keys, list values, list headers, Py_ssize_t start, Py_ssize_t max_bytes):
    """Write the records from an index on that fit, but at least one.

    keys, values: bytes or None.
    headers: by record a list of (name, value); records with equal headers may share one list.
    max_bytes: the size limit of the records.

    Returns the bytes and the number of records.
    """
    cdef Py_ssize_t total = len(values), count = 0, num_bytes = 0, size
    cdef object records, last = None
    cdef bytes encoded = b"\0"
    cdef char* at
    if len(keys) != total or len(headers) != total:
        raise ValueError("the columns have different lengths")
    if not 0 <= start < total:
        raise IndexError("there is no such record")
    while start + count < total:
        if headers[start + count] is not last:
            last = headers[start + count]
            encoded = encoded_headers(last)
        size = body_size(text_of(keys[start + count]), text_of(values[start + count]), count, len(encoded))
        size += varint_size(size)
        if count and num_bytes + size > max_bytes:
            break
        num_bytes += size
        count += 1
    records = PyBytes_FromStringAndSize(NULL, num_bytes)
    at = PyBytes_AsString(records)
    last = None
    encoded = b"\0"
    for index in range(count):
        if headers[start + index] is not last:
            last = headers[start + index]
            encoded = encoded_headers(last)
        at = put_record(at, text_of(keys[start + index]), text_of(values[start + index]), index, encoded)
    return records, count


cdef inline Py_ssize_t body_size(Text key, Text value, Py_ssize_t index, Py_ssize_t headers_size) noexcept nogil:
    """Return the size of a record without its length. index: its offset in the batch."""
    # One byte each for the attributes and the timestamp, which is that of the batch.
    return 2 + varint_size(index) + text_size(key) + text_size(value) + headers_size


cdef char* put_record(char* at, Text key, Text value, Py_ssize_t index, bytes headers):
    cdef Text encoded = text_of(headers)
    at = put_varint(at, body_size(key, value, index, encoded.size))
    at[0] = 0
    at[1] = 0
    at = put_varint(at + 2, index)
    at = put_text(at, key)
    at = put_text(at, value)
    memcpy(at, encoded.begin, encoded.size)
    return at + encoded.size


cdef bytes encoded_headers(headers):
    """Return the number of headers and their names and values."""
    cdef Py_ssize_t size = varint_size(len(headers))
    cdef object encoded
    cdef char* at
    cdef Text name_text
    if not len(headers):
        return b"\0"
    for name, value in headers:
        name_text.begin = PyUnicode_AsUTF8AndSize(name, &name_text.size)
        size += text_size(name_text) + text_size(text_of(value))
    encoded = PyBytes_FromStringAndSize(NULL, size)
    at = put_varint(PyBytes_AsString(encoded), len(headers))
    for name, value in headers:
        name_text.begin = PyUnicode_AsUTF8AndSize(name, &name_text.size)
        at = put_text(put_text(at, name_text), text_of(value))
    return encoded


cdef inline Text text_of(value) except *:
    cdef char* begin = NULL
    cdef Text text
    text.begin = NULL
    text.size = -1
    if value is not None:
        PyBytes_AsStringAndSize(value, &begin, &text.size)
        text.begin = begin
    return text


cdef inline Py_ssize_t text_size(Text text) noexcept nogil:
    return 1 if text.size < 0 else varint_size(text.size) + text.size


cdef inline char* put_text(char* at, Text text) noexcept nogil:
    if text.size < 0:
        at[0] = 1  # the length -1
        return at + 1
    at = put_varint(at, text.size)
    memcpy(at, text.begin, text.size)
    return at + text.size


cdef inline Py_ssize_t varint_size(Py_ssize_t number) noexcept nogil:
    """Return the size of a number that is not negative, zigzag-encoded."""
    cdef uint64_t bits = <uint64_t>number << 1
    cdef Py_ssize_t size = 1
    while bits >= 0x80:
        bits >>= 7
        size += 1
    return size


cdef inline char* put_varint(char* at, Py_ssize_t number) noexcept nogil:
    cdef uint64_t bits = <uint64_t>number << 1
    while bits >= 0x80:
        at[0] = <char>(bits & 0x7F | 0x80)
        bits >>= 7
        at += 1
    at[0] = <char>bits
    return at + 1
