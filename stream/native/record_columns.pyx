# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=False
"""Reads the records of a batch of format 2 into columns, and copies byte strings out of columns.

`kafka.protocol.record_reader` has the twin in Python. Both read only what is plainly a record and stop at the first other one,
which `kafka.protocol.record_batch` reads. Every function that reads bytes takes the position `at` and an `end`, reads nothing at
or after `end`, and returns the position after what it has read, or NULL for what it does not accept.
"""

from cpython.buffer cimport PyBUF_WRITABLE
from libc.stdint cimport uint8_t, uint64_t


include "spans.pxi"
include "text.pxi"


cdef extern from "Python.h":
    object PyBytes_FromStringAndSize(const char* text, Py_ssize_t size)
    object PyUnicode_DecodeUTF8(const char* text, Py_ssize_t size, const char* errors)


cdef enum:
    # The rows of the matrix, as in core.record_columns
    OFFSET = 0
    TIMESTAMP = 1
    BUFFER = 2
    KEY_BEGIN = 3
    KEY_LENGTH = 4
    VALUE_BEGIN = 5
    VALUE_LENGTH = 6
    NUM_FIELDS = 7
    MAX_HEADERS = 8192  # kafka.protocol.record_batch.MAX_HEADERS

cdef int64_t MAX_INT64 = 0x7FFFFFFFFFFFFFFF
cdef int64_t MIN_INT64 = -MAX_INT64 - 1
cdef tuple NO_HEADERS = ()


cdef struct Record:
    int64_t timestamp_delta
    int64_t offset_delta
    const uint8_t* key
    int64_t key_length
    const uint8_t* value
    int64_t value_length
    int64_t num_headers
    const uint8_t* headers


def texts(column):
    """Return the strings of a `ByteColumn`."""
    cdef Spans spans = Spans(column)
    cdef Py_ssize_t index, length
    cdef list strings = []
    for index in range(spans.count):
        length = spans.length_of(index)
        if length < 0:
            strings.append(None)
        else:
            strings.append(PyBytes_FromStringAndSize(spans.begin_of(index), length))
    return strings


def read(data, fields_7N, *, Py_ssize_t begin, int64_t first, int64_t lowest, int64_t room, int64_t first_timestamp,
         append_time):
    """Read records into the columns of a matrix, up to its width or the first one that is not plain.

    data: the unpacked records of a batch.
    begin: where the first record to read begins.
    first: the first offset of the batch.
    lowest: the lowest offset that the first record can have, as a difference to `first`.
    room: how much higher it can be: 0 if no offsets are missing.
    append_time: the timestamp of all records; None if they have their own, relative to `first_timestamp`.

    Returns the number of records, where the next one begins, and the headers of each; None if no record has any.
    """
    cdef Py_buffer buffer, matrix
    PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(fields_7N, &matrix, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        try:
            if matrix.itemsize != sizeof(int64_t) or matrix.len % (NUM_FIELDS * <Py_ssize_t>sizeof(int64_t)):
                raise ValueError("the matrix does not have seven rows of int64")
            if not 0 <= begin <= buffer.len:
                raise ValueError("the records do not begin in the data")
            return read_records(
                <const uint8_t*>buffer.buf, begin, buffer.len, <int64_t*>matrix.buf,
                matrix.len // (NUM_FIELDS * <Py_ssize_t>sizeof(int64_t)),
                first, lowest, room, first_timestamp, append_time,
            )
        finally:
            PyBuffer_Release(&matrix)
    finally:
        PyBuffer_Release(&buffer)


cdef tuple read_records(const uint8_t* data, Py_ssize_t begin, Py_ssize_t size, int64_t* fields, Py_ssize_t width,
                        int64_t first, int64_t lowest, int64_t room, int64_t first_timestamp, append_time):
    cdef const uint8_t* at = data + begin
    cdef const uint8_t* end = data + size
    cdef const uint8_t* next_record
    cdef Record record
    cdef Py_ssize_t count = 0
    cdef int64_t highest
    cdef bint has_append_time = append_time is not None
    cdef int64_t timestamp = append_time if has_append_time else 0
    cdef list headers = None, own
    for count in range(width + 1):
        if count == width:
            break
        next_record = read_record(&record, at, end)
        if next_record == NULL:
            break
        # Each record after this one needs an offset too, so each may be only as much higher than the lowest as the first.
        if not lowest <= record.offset_delta <= lowest + room:
            break
        if not has_append_time:
            if record.timestamp_delta > 0 and first_timestamp > MAX_INT64 - record.timestamp_delta:
                break
            if record.timestamp_delta < 0 and first_timestamp < MIN_INT64 - record.timestamp_delta:
                break
            timestamp = first_timestamp + record.timestamp_delta
        if record.num_headers:
            own = read_headers(record.headers, next_record, record.num_headers)
            if own is None:
                break
            if headers is None:
                headers = [NO_HEADERS] * count
            headers.append(own)
        else:
            if record.headers != next_record:
                break
            if headers is not None:
                headers.append(NO_HEADERS)
        fields[OFFSET * width + count] = first + record.offset_delta
        fields[TIMESTAMP * width + count] = timestamp
        fields[BUFFER * width + count] = 0
        fields[KEY_BEGIN * width + count] = record.key - data
        fields[KEY_LENGTH * width + count] = record.key_length
        fields[VALUE_BEGIN * width + count] = record.value - data
        fields[VALUE_LENGTH * width + count] = record.value_length
        room -= record.offset_delta - lowest
        lowest = record.offset_delta + 1
        at = next_record
    return count, at - data, headers


cdef inline const uint8_t* read_record(Record* record, const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Read a record up to its headers. Returns where the next one begins."""
    cdef int64_t length
    at = read_varint(&length, at, end)
    if at == NULL or length < 0 or length > end - at:
        return NULL
    end = at + length
    if at == end or at[0] >= 0x80:  # attributes, which are not used
        return NULL
    at = read_varint(&record.timestamp_delta, at + 1, end)
    if at == NULL:
        return NULL
    at = read_varint(&record.offset_delta, at, end)
    if at == NULL:
        return NULL
    at = read_string(&record.key, &record.key_length, at, end)
    if at == NULL:
        return NULL
    at = read_string(&record.value, &record.value_length, at, end)
    if at == NULL:
        return NULL
    at = read_varint(&record.num_headers, at, end)
    if at == NULL or not 0 <= record.num_headers <= MAX_HEADERS:
        return NULL
    record.headers = at
    return end


cdef inline const uint8_t* read_string(const uint8_t** begin, int64_t* length, const uint8_t* at,
                                       const uint8_t* end) noexcept nogil:
    """Read a byte string, or null, whose length becomes -1."""
    at = read_varint(length, at, end)
    if at == NULL:
        return NULL
    begin[0] = at
    if length[0] < 0:
        length[0] = -1
        return at
    if length[0] > end - at:
        return NULL
    return at + length[0]


cdef inline const uint8_t* read_varint(int64_t* number, const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Read a zigzag-encoded number of at most 64 bits."""
    cdef uint64_t bits = 0
    cdef int shift = 0
    cdef uint8_t byte
    while at < end and shift < 64:
        byte = at[0]
        at += 1
        if shift == 63 and byte > 1:
            return NULL
        bits |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            number[0] = <int64_t>((bits >> 1) ^ (0 - (bits & 1)))
            return at
        shift += 7
    return NULL


cdef list read_headers(const uint8_t* at, const uint8_t* end, int64_t count):
    """Return the headers of a record, which end at its end; None if they are not valid."""
    cdef list headers = []
    cdef const uint8_t* name
    cdef const uint8_t* content
    cdef int64_t name_length, content_length
    while count:
        at = read_string(&name, &name_length, at, end)
        if at == NULL or name_length < 0 or not is_utf8(<const char*>name, name_length):
            return None
        at = read_string(&content, &content_length, at, end)
        if at == NULL:
            return None
        headers.append((
            PyUnicode_DecodeUTF8(<const char*>name, name_length, NULL),
            None if content_length < 0 else PyBytes_FromStringAndSize(<const char*>content, content_length),
        ))
        count -= 1
    return headers if at == end else None
