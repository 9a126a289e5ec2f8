# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=False
"""Reads plain JSON events straight into a matrix: no Python object for a document, a list of features or a number.

It accepts only what the exact path (`decode.validator`) accepts, with the same id, timestamp and bits of float32, and leaves
all else to it: unknown, repeated or missing fields, escapes, invalid UTF-8, numbers of more than 19 digits or far exponents,
numbers beyond float32. Differential tests compare the two (`tests/native`).

Every function that reads bytes takes the position `at` and the `end` of the value, reads nothing at or after `end`, and returns
the position after what it has read, or NULL for what it does not accept.
"""

from cpython.buffer cimport PyBUF_WRITABLE
from cpython.bytes cimport PyBytes_AsStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp


include "numbers.pxi"
include "spans.pxi"
include "text.pxi"


cdef extern from "Python.h":
    object PyUnicode_DecodeUTF8(const char* text, Py_ssize_t size, const char* errors)


cdef enum:
    ID = 1
    TIMESTAMP = 2
    FEATURES = 4

cdef double MAX_FLOAT32 = 3.4028235677973366e38  # decode.features.MAX_FLOAT32
cdef int64_t MAX_TIMESTAMP = 253402300799999  # schemas.definitions.MAX_TIMESTAMP_MS


cdef struct Value:
    const char* begin  # of the record value; NULL for a tombstone
    const char* end
    const char* id
    Py_ssize_t id_bytes
    int64_t timestamp
    bint is_plain


cdef struct Layout:
    Py_ssize_t num_features
    int depth  # of nested arrays; 0 if they may not be nested
    Py_ssize_t* shape
    const uint8_t* nullable
    Py_ssize_t num_nullable
    Py_ssize_t num_names  # 0 if the features have no names
    const char** names
    Py_ssize_t* name_bytes
    uint32_t* slots  # hash table of the names: index + 1; 0 for an empty slot
    uint32_t slot_mask


cdef inline const char* read_feature(const Layout* layout, Py_ssize_t index, const char* at, const char* end,
                                     float* row) noexcept nogil:
    """Read the number or null of a feature."""
    cdef double number = 0.0
    if at < end and at[0] == b"n":
        if not layout.nullable[index] or end - at < 4 or memcmp(at, b"null", 4) != 0:
            return NULL
        (<uint32_t*>&row[index])[0] = 0x7FC00000  # NaN
        return at + 4
    at = read_number(at, end, &number)
    if at == NULL or number >= MAX_FLOAT32 or number <= -MAX_FLOAT32:
        return NULL
    row[index] = <float>number
    return at


cdef const char* read_array(const Layout* layout, const char* at, const char* end, float* row) noexcept nogil:
    """Read a flat array of all features. at: after its bracket."""
    cdef Py_ssize_t index
    for index in range(layout.num_features):
        if index:
            if at < end and at[0] == b",":  # without space around it, which is usual
                at += 1
                if at < end and at[0] <= b" ":
                    at = skip_space(at, end)
            else:
                at = expect(b",", at, end)
                if at == NULL:
                    return NULL
        at = read_feature(layout, index, at, end, row)
        if at == NULL:
            return NULL
    return expect(b"]", at, end)


cdef const char* read_nested(const Layout* layout, int depth, Py_ssize_t* index, const char* at, const char* end,
                             float* row) noexcept nogil:
    """Read nested arrays of the shape of the features. at: after the bracket of this depth."""
    cdef Py_ssize_t place
    for place in range(layout.shape[depth]):
        if place:
            at = expect(b",", at, end)
            if at == NULL:
                return NULL
        if depth + 1 < layout.depth:
            at = expect(b"[", at, end)
            if at == NULL:
                return NULL
            at = read_nested(layout, depth + 1, index, at, end, row)
        else:
            at = read_feature(layout, index[0], at, end, row)
            index[0] += 1
        if at == NULL:
            return NULL
    return expect(b"]", at, end)


cdef inline uint32_t hash_of(const char* text, Py_ssize_t size) noexcept nogil:
    cdef uint32_t code = 2166136261  # FNV-1a
    cdef Py_ssize_t index
    for index in range(size):
        code = (code ^ <uint8_t>text[index]) * 16777619
    return code


cdef inline Py_ssize_t index_of(const Layout* layout, const char* name, Py_ssize_t size, Py_ssize_t likely) noexcept nogil:
    """Return the index of the feature with this name, or -1. likely: the index that is tried first."""
    cdef uint32_t slot
    cdef Py_ssize_t index
    if likely < layout.num_names and layout.name_bytes[likely] == size and (
        memcmp(layout.names[likely], name, size) == 0
    ):
        return likely
    slot = hash_of(name, size) & layout.slot_mask
    while layout.slots[slot]:  # at least half of the slots are empty
        index = layout.slots[slot] - 1
        if layout.name_bytes[index] == size and memcmp(layout.names[index], name, size) == 0:
            return index
        slot = (slot + 1) & layout.slot_mask
    return -1


cdef const char* read_object(const Layout* layout, const char* at, const char* end, float* row,
                             uint8_t* found) noexcept nogil:
    """Read features by name. at: after the brace. found: one byte for each feature, with any content."""
    cdef Py_ssize_t count = 0, index = -1
    cdef const char* name
    memset(found, 0, layout.num_features)
    if at < end and at[0] == b"}":
        at = skip_space(at + 1, end)
    else:
        while True:
            at = skip_space(at, end)
            if at == end or at[0] != b'"':
                return NULL
            at += 1
            name = at
            while at < end and at[0] != b'"':
                if at[0] == b"\\" or <uint8_t>at[0] < 0x20:
                    return NULL
                at += 1
            if at == end:
                return NULL
            index = index_of(layout, name, at - name, index + 1)
            if index < 0 or found[index]:
                return NULL
            found[index] = 1
            count += 1
            at = expect(b":", at + 1, end)
            if at == NULL:
                return NULL
            at = read_feature(layout, index, at, end, row)
            if at == NULL:
                return NULL
            at = skip_space(at, end)
            if at == end:
                return NULL
            if at[0] == b",":
                at += 1
            elif at[0] == b"}":
                at = skip_space(at + 1, end)
                break
            else:
                return NULL
    if count < layout.num_features:
        if count + layout.num_nullable < layout.num_features:
            return NULL
        for index in range(layout.num_features):
            if not found[index]:
                if not layout.nullable[index]:
                    return NULL
                (<uint32_t*>&row[index])[0] = 0x7FC00000  # NaN
    return at


cdef const char* read_features(const Layout* layout, const char* at, const char* end, float* row,
                               uint8_t* found) noexcept nogil:
    cdef Py_ssize_t index = 0
    if at == end:
        return NULL
    if at[0] == b"[":
        at = skip_space(at + 1, end)
        if layout.depth and at < end and at[0] == b"[":
            return read_nested(layout, 0, &index, at, end, row)
        return read_array(layout, at, end, row)
    if at[0] == b"{" and layout.num_names:
        return read_object(layout, skip_space(at + 1, end), end, row, found)
    return NULL


cdef const char* read_id(const char* at, const char* end, Value* value) noexcept nogil:
    """Read a text without escapes, which may be invalid UTF-8."""
    if at == end or at[0] != b'"':
        return NULL
    at += 1
    value.id = at
    while at < end and at[0] != b'"':
        if at[0] == b"\\" or <uint8_t>at[0] < 0x20:
            return NULL
        at += 1
    if at == end or at == value.id:
        return NULL
    value.id_bytes = at - value.id
    return at + 1


cdef const char* read_timestamp(const char* at, const char* end, int64_t* timestamp) noexcept nogil:
    """Read integer milliseconds since the Unix epoch."""
    cdef const char* begin = at
    cdef int64_t number = 0
    while is_digit(at, end):
        if at - begin == 15:
            return NULL
        number = 10 * number + <uint8_t>(at[0] - 48)
        at += 1
    if at == begin or (begin[0] == b"0" and at - begin > 1) or number > MAX_TIMESTAMP:
        return NULL
    timestamp[0] = number
    return at


cdef bint read_event(const Layout* layout, Value* value, float* row, uint8_t* found) noexcept nogil:
    """Read an event with exactly the fields id, timestamp and features, in any order."""
    cdef const char* end = value.end
    cdef const char* at = value.begin
    cdef int fields = 0, field
    if at == NULL:
        return False
    at = expect(b"{", at, end)
    while at != NULL:
        if end - at > 4 and memcmp(at, b'"id"', 4) == 0:
            field = ID
            at += 4
        elif end - at > 11 and memcmp(at, b'"timestamp"', 11) == 0:
            field = TIMESTAMP
            at += 11
        elif end - at > 10 and memcmp(at, b'"features"', 10) == 0:
            field = FEATURES
            at += 10
        else:
            return False
        if fields & field:
            return False
        fields |= field
        at = expect(b":", at, end)
        if at == NULL:
            return False
        if field == ID:
            at = read_id(at, end, value)
        elif field == TIMESTAMP:
            at = read_timestamp(at, end, &value.timestamp)
        else:
            at = read_features(layout, at, end, row, found)
        if at == NULL:
            return False
        if fields == ID | TIMESTAMP | FEATURES:
            return expect(b"}", at, end) == end
        at = expect(b",", at, end)
    return False


cdef class RowReader:
    """Reads events of one signature.

    shape: of the features of a row; more than one number if they may be nested arrays.
    names: of the features as UTF-8; empty if they have none.
    nullable: one byte for each feature: 1 if it may be null or absent, which becomes NaN.
    """

    cdef Layout layout
    cdef tuple _names
    cdef bytes _nullable

    def __cinit__(self, tuple shape, tuple names, bytes nullable):
        cdef Py_ssize_t index, size = 1, num_slots = 4
        cdef uint32_t slot
        cdef Layout* layout = &self.layout
        for length in shape:
            size *= length
        if size < 1 or len(nullable) != size or (names and (len(names) != size or len(set(names)) != size)):
            raise ValueError("shape, names and nullable do not describe the same features")
        if size > 1 << 24:
            raise ValueError("too many features")
        self._names = names
        self._nullable = nullable
        layout.num_features = size
        layout.nullable = <const uint8_t*><const char*>nullable
        layout.num_nullable = sum(nullable)
        layout.depth = len(shape) if len(shape) > 1 else 0
        layout.shape = <Py_ssize_t*>allocated(max(1, len(shape)) * sizeof(Py_ssize_t))
        for index in range(len(shape)):
            layout.shape[index] = shape[index]
        layout.num_names = len(names)
        if not names:
            return
        while num_slots < 2 * size:
            num_slots *= 2
        layout.slot_mask = <uint32_t>(num_slots - 1)
        layout.names = <const char**>allocated(size * sizeof(char*))
        layout.name_bytes = <Py_ssize_t*>allocated(size * sizeof(Py_ssize_t))
        layout.slots = <uint32_t*>allocated(num_slots * sizeof(uint32_t))
        for index in range(size):
            PyBytes_AsStringAndSize(names[index], <char**>&layout.names[index], &layout.name_bytes[index])
            slot = hash_of(layout.names[index], layout.name_bytes[index]) & layout.slot_mask
            while layout.slots[slot]:
                slot = (slot + 1) & layout.slot_mask
            layout.slots[slot] = <uint32_t>(index + 1)

    def __dealloc__(self):
        PyMem_Free(self.layout.shape)
        PyMem_Free(<void*>self.layout.names)
        PyMem_Free(self.layout.name_bytes)
        PyMem_Free(self.layout.slots)

    def read(self, values, x_BF):
        """Read the events of a poll. Return the ids and timestamps by row, and the indices of the values that are not rows.

        values: record values: bytes, or None for a tombstone; or a `ByteColumn`.
        x_BF: writable contiguous float32 [at least one row for each value, F]. The rows of plain events are written one after
        another, without gaps; what follows them has any content.
        """
        # Keeps the bytes while other threads run.
        cdef Spans spans = Spans(values) if hasattr(values, "buffers") else None
        cdef tuple held = tuple(values) if spans is None else ()
        cdef Py_ssize_t count = len(held) if spans is None else spans.count, row = 0, index
        cdef Py_buffer matrix
        cdef Value* parsed = NULL
        cdef uint8_t* found = NULL
        PyObject_GetBuffer(x_BF, &matrix, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS)
        try:
            if matrix.len < count * self.layout.num_features * <Py_ssize_t>sizeof(float):
                raise ValueError("the matrix is too small for the values")
            parsed = <Value*>allocated((count + 1) * sizeof(Value))
            found = <uint8_t*>allocated(self.layout.num_features)
            for index in range(count):
                if spans is None:
                    point_to(held[index], &parsed[index])
                elif spans.length_of(index) >= 0:
                    parsed[index].begin = spans.begin_of(index)
                    parsed[index].end = parsed[index].begin + spans.length_of(index)
            with nogil:
                for index in range(count):
                    parsed[index].is_plain = read_event(
                        &self.layout, &parsed[index], <float*>matrix.buf + row * self.layout.num_features, found
                    )
                    row += parsed[index].is_plain
                    # An id that is not UTF-8 is found below, after its row was written.
                    if parsed[index].is_plain and not is_ascii(parsed[index].id, parsed[index].id_bytes):
                        if not is_utf8(parsed[index].id, parsed[index].id_bytes):
                            parsed[index].is_plain = False
                            row -= 1
            return columns_of(parsed, count)
        finally:
            PyMem_Free(parsed)
            PyMem_Free(found)
            PyBuffer_Release(&matrix)


cdef inline void point_to(value, Value* parsed) except *:
    cdef char* begin = NULL
    cdef Py_ssize_t size = 0
    if type(value) is bytes:
        PyBytes_AsStringAndSize(value, &begin, &size)
    parsed.begin = begin
    parsed.end = begin + size


cdef tuple columns_of(Value* parsed, Py_ssize_t count):
    cdef list ids = [], timestamps = [], others = []
    cdef Py_ssize_t index
    for index in range(count):
        if parsed[index].is_plain:
            ids.append(PyUnicode_DecodeUTF8(parsed[index].id, parsed[index].id_bytes, NULL))
            timestamps.append(parsed[index].timestamp)
        else:
            others.append(index)
    return ids, timestamps, others
