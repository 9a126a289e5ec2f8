"""Skips space between tokens, and checks whether text is UTF-8."""

from libc.stdint cimport uint8_t


cdef inline const char* skip_space(const char* at, const char* end) noexcept nogil:
    while at < end and (at[0] == b" " or at[0] == b"\n" or at[0] == b"\r" or at[0] == b"\t"):
        at += 1
    return at


cdef inline const char* expect(char wanted, const char* at, const char* end) noexcept nogil:
    """Skip space, the wanted character, and space."""
    at = skip_space(at, end)
    if at == end or at[0] != wanted:
        return NULL
    return skip_space(at + 1, end)


cdef inline bint is_ascii(const char* text, Py_ssize_t size) noexcept nogil:
    cdef uint8_t bits = 0
    cdef Py_ssize_t index
    for index in range(size):
        bits |= <uint8_t>text[index]
    return bits < 0x80


cdef bint is_utf8(const char* text, Py_ssize_t size) noexcept nogil:
    """Return whether the text is UTF-8: no overlong forms, surrogates, or code points beyond U+10FFFF."""
    cdef Py_ssize_t index = 0, more
    cdef uint8_t first, least, most
    while index < size:
        first = <uint8_t>text[index]
        index += 1
        if first < 0x80:
            continue
        least, most = 0x80, 0xBF
        if 0xC2 <= first <= 0xDF:
            more = 1
        elif 0xE0 <= first <= 0xEF:
            more = 2
            if first == 0xE0:
                least = 0xA0
            elif first == 0xED:
                most = 0x9F
        elif 0xF0 <= first <= 0xF4:
            more = 3
            if first == 0xF0:
                least = 0x90
            elif first == 0xF4:
                most = 0x8F
        else:
            return False
        while more:
            if index == size or not least <= <uint8_t>text[index] <= most:
                return False
            least, most = 0x80, 0xBF
            index += 1
            more -= 1
    return True
