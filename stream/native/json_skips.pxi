"""Skips JSON values that are plainly valid. What these functions refuse may be valid, too: it is left to the exact path.

Each returns the position after the value, or NULL for what it refuses. Texts must be checked for UTF-8 beforehand.
"""

from libc.string cimport memchr, memcmp


cdef enum:
    MAX_DEPTH = 64
    SHORT_TEXT = 24  # bytes; longer ones are searched by memchr


cdef inline bint is_hex(char byte) noexcept nogil:
    return b"0" <= byte <= b"9" or b"a" <= byte <= b"f" or b"A" <= byte <= b"F"


cdef inline bint needs_care(const char* text, Py_ssize_t size) noexcept nogil:
    """Return whether a text has a control character or a backslash."""
    cdef uint8_t bits = 0
    cdef Py_ssize_t index
    for index in range(size):
        bits |= (<uint8_t>text[index] < 0x20) | (text[index] == b"\\")
    return bits != 0


cdef const char* skip_text(const char* at, const char* end) noexcept nogil:
    """Skip a string. at: after its quotation mark. Escaped surrogates are refused."""
    cdef const char* short_end = at + SHORT_TEXT if end - at > SHORT_TEXT else end
    cdef const char* quote
    cdef char byte
    while at < end:
        if at == short_end:
            quote = <const char*>memchr(at, 34, end - at)
            if quote == NULL:
                return NULL
            if not needs_care(at, quote - at):
                return quote + 1
        byte = at[0]
        at += 1
        if byte == b'"':
            return at
        if <uint8_t>byte < 0x20:
            return NULL
        if byte != b"\\":
            continue
        if at == end:
            return NULL
        byte = at[0]
        at += 1
        if byte == b"u":
            if end - at < 4 or not (is_hex(at[0]) and is_hex(at[1]) and is_hex(at[2]) and is_hex(at[3])):
                return NULL
            if (at[0] == b"d" or at[0] == b"D") and at[1] >= b"8":
                return NULL
            at += 4
        elif byte == 0 or memchr(b'"\\/bfnrt', byte, 8) == NULL:
            return NULL
    return NULL


cdef inline const char* skip_digits(const char* at, const char* end) noexcept nogil:
    """Skip at least one digit."""
    cdef const char* begin = at
    while at < end and b"0" <= at[0] <= b"9":
        at += 1
    return NULL if at == begin else at


cdef const char* skip_number(const char* at, const char* end) noexcept nogil:
    """Skip a number of at most 40 characters whose exponent has at most two digits."""
    cdef const char* begin = at
    cdef const char* exponent
    if at < end and at[0] == b"-":
        at += 1
    if at < end and at[0] == b"0":
        at += 1
    else:
        at = skip_digits(at, end)
        if at == NULL:
            return NULL
    if at < end and at[0] == b".":
        at = skip_digits(at + 1, end)
        if at == NULL:
            return NULL
    if at < end and (at[0] == b"e" or at[0] == b"E"):
        at += 1
        if at < end and (at[0] == b"+" or at[0] == b"-"):
            at += 1
        exponent = at
        at = skip_digits(at, end)
        if at == NULL or at - exponent > 2:
            return NULL
    return NULL if at - begin > 40 else at


cdef const char* skip_value(const char* at, const char* end, int depth) noexcept nogil:
    """Skip a value without the space around it. depth: of the objects and arrays around it."""
    cdef char first, last
    if at == end or depth > MAX_DEPTH:
        return NULL
    first = at[0]
    if first == b'"':
        return skip_text(at + 1, end)
    if first == b"t":
        return at + 4 if end - at >= 4 and memcmp(at, b"true", 4) == 0 else NULL
    if first == b"f":
        return at + 5 if end - at >= 5 and memcmp(at, b"false", 5) == 0 else NULL
    if first == b"n":
        return at + 4 if end - at >= 4 and memcmp(at, b"null", 4) == 0 else NULL
    if first != b"{" and first != b"[":
        return skip_number(at, end)
    last = b"}" if first == b"{" else b"]"
    at = skip_space(at + 1, end)
    if at < end and at[0] == last:
        return at + 1
    while True:
        if first == b"{":
            if at == end or at[0] != b'"':
                return NULL
            at = skip_text(at + 1, end)
            if at == NULL:
                return NULL
            at = expect(b":", at, end)
            if at == NULL:
                return NULL
        at = skip_value(at, end, depth + 1)
        if at == NULL:
            return NULL
        at = skip_space(at, end)
        if at == end:
            return NULL
        if at[0] == last:
            return at + 1
        if at[0] != b",":
            return NULL
        at = skip_space(at + 1, end)


cdef inline bint is_text_valid(const char* text, Py_ssize_t size) noexcept nogil:
    return is_ascii(text, size) or is_utf8(text, size)


cdef bint is_json(const char* text, Py_ssize_t size) noexcept nogil:
    """Return whether a text is plainly one JSON value, without space around it."""
    return size > 0 and is_text_valid(text, size) and skip_value(text, text + size, 0) == text + size
